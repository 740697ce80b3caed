"""The rate governor: slots evenly spaced over all processes, no bursts, not even when Redis forgets."""

import itertools
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from crm_tasks.config import settings
from crm_tasks.core import pace
from crm_tasks.core.pace import Bucket, Members, Slot, Window
from crm_tasks.core.redis import manager
from tests.core.ledger import execute, stopped, valkey_pid
from tests.harness import ROOT, eventually

# Wide enough that a busy machine does not make a gap between two calls.
RATE, STEP = 5, 0.2
# Takes as many slots as it can get for a while, and prints how many.
TAKER = """
import sys, time
from crm_tasks.core import pace
end, taken = time.monotonic() + 1.5, 0
while time.monotonic() < end:
    taken += pace.reserve([pace.Bucket("shared", 20)]).reserved
    time.sleep(0.001)
print(taken)
"""


@pytest.fixture(autouse=True)
def old_redis(empty: None) -> None:
    """Give a Redis that has been there for long: a new one keeps every bucket closed for two seconds."""
    manager().client().hset("crm:pace", "since", 1)


def kept(name: str, field: str = "low") -> float:
    """Return a moment that is kept in Redis, in seconds of its clock."""
    return int(manager().client().hget(f"crm:pace:{name}", field)) / 1_000_000


def take(*limits: Bucket | Window | Members, priority: int = 5, member: str | None = None) -> Slot:
    return pace.reserve(limits, priority=priority, member=member)


def taken(count: int, *limits: Bucket | Window | Members, priority: int = 5) -> list[float]:
    """Take slots and return the moments they are for."""
    moments: list[float] = []
    while len(moments) < count:
        slot = take(*limits, priority=priority)
        if slot.at is not None:
            moments.append(slot.at)
        else:
            time.sleep(0.01)
    return moments


def apart(moments: list[float]) -> set[float]:
    return {round(later - earlier, 4) for earlier, later in itertools.pairwise(moments)}


def ahead(limit: Bucket | Window | Members) -> float:
    """Return the seconds until the next start, which somebody knows."""
    span = pace.ahead(limit)
    assert span is not None
    return span.total_seconds()


def nobody() -> list[tuple[str, datetime]]:
    return []


def test_several_processes_together_get_no_more_slots_than_there_are() -> None:
    first = taken(1, Bucket("shared", 20))[0]
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    count = sum(int(taker.communicate(timeout=30)[0]) for taker in takers)
    assert count > 10
    # Every one of them moved the next free slot by one step; none was given twice.
    assert kept("shared") >= first + count * 0.05 - 0.001
    seconds, rest = manager().client().time()
    assert kept("shared") <= seconds + rest / 1_000_000 + 1.06


def test_a_slot_is_reserved_at_most_a_second_ahead_and_the_rest_is_sent_away_evenly() -> None:
    reserved, away = [], []
    for _ in range(40):
        slot = take(Bucket("b", RATE))
        (reserved if slot.reserved else away).append((slot, kept("b", "low" if slot.reserved else "tail_low")))
    assert max(slot.wait for slot, _ in reserved) <= pace.AHEAD
    assert reserved and apart([slot.at for slot, _ in reserved if slot.at]) == {STEP}
    # Each has a moment of its own behind the others: they neither poll nor all come back at once.
    assert len(away) > 10
    assert apart([tail for _, tail in away]) == {STEP}
    assert away[0][1] >= reserved[-1][1]
    assert {slot.gate for slot, _ in away} == {"b"}


def test_buckets_do_not_know_each_other() -> None:
    assert [take(Bucket(f"b{n}", 1 / 3600)).reserved for n in range(5)] == [True] * 5
    assert not take(Bucket("b0", 1 / 3600)).reserved


def test_all_buckets_or_none() -> None:
    fast, slow = Bucket("fast", 20), Bucket("slow", 1 / 60)
    assert take(fast, slow).reserved
    before = kept("fast")
    refused = take(fast, slow)
    assert (refused.reserved, refused.gate) == (False, "slow")
    assert timedelta(seconds=58) < refused.wait < timedelta(seconds=60)
    assert kept("fast") == before


def test_one_start_is_at_the_same_moment_in_every_bucket() -> None:
    taken(3, Bucket("a", RATE))
    slot = take(Bucket("a", RATE), Bucket("c", 50))
    assert slot.gate == "a"
    assert slot.at == pytest.approx(kept("a") - STEP, abs=1e-5)
    assert slot.at == pytest.approx(kept("c") - 0.02, abs=1e-5)


def test_a_burst_is_granted_once_and_comes_back_slot_by_slot() -> None:
    pair = Bucket("pair", 1 / 6, burst=45, share=0)
    assert [take(pair).wait for _ in range(45)] == [timedelta(0)] * 45
    refused = [take(pair) for _ in range(3)]
    assert [slot.reserved for slot in refused] == [False] * 3
    # One per six seconds from now on, each half a second early: it is waited for in place.
    assert [round(slot.wait.total_seconds() + 0.5) for slot in refused] == [6, 12, 18]


def test_a_redis_that_forgets_grants_no_burst() -> None:
    bucket, pair = Bucket("b", RATE), Bucket("pair", 1 / 6, burst=45)
    before = taken(5, bucket)
    assert take(pair).reserved
    manager().client().flushall()
    after = taken(5, bucket)
    # What was reserved before is over when the first new one comes.
    assert apart(before) == apart(after) == {STEP}
    assert after[0] >= before[-1] + STEP
    # A burst has to be earned again.
    assert [take(pair).reserved for _ in range(4)] == [True, False, False, False]


def test_a_reply_does_not_wait_behind_a_broadcast() -> None:
    channel = Bucket("channel", 10, burst=2)
    while take(channel, priority=7).reserved:
        pass
    for _ in range(100):
        take(channel, priority=7)
    low = pace.ahead(channel, 7)
    assert low is not None and low > timedelta(seconds=8)
    assert take(channel, priority=2).wait == timedelta(0)
    # Its own lane has one slot a second, and whatever the other leaves.
    high = pace.ahead(channel, 1)
    assert high is not None and high <= timedelta(seconds=1)
    assert take(channel, priority=3).reserved


def test_low_priorities_may_use_nine_tenths_and_high_ones_all() -> None:
    channel = Bucket("channel", RATE, burst=2)
    low = taken(8, channel, priority=4)
    assert apart(low[3:]) == {round(STEP / 0.9, 4)}
    assert kept("channel", "high") < 10
    before = kept("channel", "low")
    taken(8, channel, priority=3)
    assert kept("channel", "high") > before
    assert kept("channel", "low") > before


def by(window: Window, lane: str = "low") -> list[float]:
    """Return by when those in a window have surely arrived, in seconds of Redis's clock, in order."""
    return [
        score / 1e6 for _, score in manager().client().zrange(f"crm:pace:{window.name}:{lane}", 0, -1, withscores=True)
    ]


def test_a_window_counts_from_when_each_has_arrived() -> None:
    window = Window("w", 4, share=0)
    slots = [take(window) for _ in range(4)]
    starts = [slot.at for slot in slots if slot.at]
    # As nothing is told, each may be late and long on its way.
    assert by(window) == pytest.approx([start + 0.25 for start in starts], abs=1e-5)
    refused = take(window)
    assert (refused.reserved, refused.gate) == (False, "w")
    for slot in slots:
        pace.arrived(slot)
    # All were answered long before the last of them could have left: from now on only that counts.
    eventually(lambda: by(window)[-1] < starts[-1])
    known = by(window)
    assert taken(1, window)[0] >= known[0] + 1


def test_what_is_told_late_or_twice_makes_nothing_later() -> None:
    window = Window("w", 4, share=0)
    slot = take(window)
    pace.arrived(slot)
    assert slot.at
    eventually(lambda: by(window)[0] < slot.at + 0.25)  # type: ignore[operator]
    known = by(window)
    pace.left(slot)
    pace.arrived(slot)
    other = take(Window("other", 4, share=0))
    pace.arrived(other)
    eventually(lambda: by(Window("other", 4))[0] < other.at + 0.25)  # type: ignore[operator]
    assert by(window) == known


def test_a_slot_of_a_window_that_goes_back_was_never_there() -> None:
    window = Window("w", 4, share=0)
    first, second = take(window), take(window)
    pace.give_back(first)
    pace.arrived(first)
    assert second.at
    assert by(window) == pytest.approx([second.at + 0.25], abs=1e-5)


def test_an_answer_that_comes_after_all_is_forgotten_is_taken_for_none_of_the_new(old_redis: None) -> None:
    window = Window("w", 10, share=0)
    old = take(window)
    client = manager().client()
    client.delete("crm:pace:w", "crm:pace:w:low")
    new = take(window)
    assert new.at
    pace.arrived(old)
    pace.give_back(old)
    last = take(Window("other", 10, share=0))
    pace.arrived(last)
    eventually(lambda: by(Window("other", 10))[0] < last.at + 0.25)  # type: ignore[operator]
    assert by(window) == pytest.approx([new.at + 0.25], abs=1e-5)


def test_a_window_keeps_a_share_for_who_does_not_wait() -> None:
    window = Window("w", 20)
    while take(window, priority=5).reserved:
        pass
    assert take(window, priority=3).wait == timedelta(0)
    assert len(by(window, "high")) == 1
    assert Window("w", 9).lanes[1] is None


def test_a_window_after_an_emptied_redis_opens_when_what_was_before_is_over() -> None:
    window = Window("w", 4, share=0)
    assert all(take(window).reserved for _ in range(3))
    manager().client().flushall()
    seconds, rest = manager().client().time()
    # A second ahead, a second alone, and the window.
    assert taken(1, window)[0] >= seconds + rest / 1e6 + 3


def test_who_was_told_to_come_back_and_does_not_leaves_no_gap() -> None:
    bucket = Bucket("b", RATE)
    for _ in range(100):
        take(bucket)
    assert ahead(bucket) > 10
    # As if they were all cancelled, and the bucket was unused since.
    client = manager().client()
    client.hset("crm:pace:b", "low", (client.time()[0] - 2) * 1_000_000)
    assert ahead(bucket) == 0
    while take(bucket).reserved:
        pass
    assert take(bucket).wait < timedelta(seconds=2)


def test_a_slot_that_was_not_used_goes_back() -> None:
    limits = [Bucket("a", 1 / 60), Bucket("b", RATE), Members("m", 1, nobody)]
    slot = pace.reserve(limits, member="one")
    if not slot.reserved:
        pytest.fail(f"{slot}")
    assert not pace.reserve(limits, member="one").reserved
    pace.give_back(slot)
    again = pace.reserve(limits, member="two")
    assert again.reserved
    assert pace.reserve(limits[2:], member="one").gate == "m"


def test_a_slot_that_others_have_built_upon_stays_taken() -> None:
    bucket = Bucket("a", RATE)
    first, second = take(bucket), take(bucket)
    pace.give_back(first)
    third = take(bucket)
    assert apart([slot.at for slot in (first, second, third) if slot.at]) == {STEP}


def test_so_many_members_in_a_moving_window_and_no_more() -> None:
    limit = Members("portfolio", 3, nobody, timedelta(seconds=60))
    assert [take(limit, member=name).reserved for name in "abcabc"] == [True] * 6
    refused = [take(limit, member=name) for name in "defd"]
    assert {(slot.reserved, slot.gate) for slot in refused} == {(False, "portfolio")}
    # The oldest leaves first: each of those that wait comes back when another leaves, the fourth after the window.
    oldest = [score for _, score in manager().client().zrange("crm:pace:portfolio:members", 0, -1, withscores=True)]
    seconds, rest = manager().client().time()
    expected = [score / 1e6 + 60 - seconds - rest / 1e6 for score in oldest]
    assert [slot.wait.total_seconds() for slot in refused[:3]] == pytest.approx(expected, abs=2)
    assert ahead(limit) > 55
    # As if the window had moved on.
    manager().client().zadd("crm:pace:portfolio:members", {next(iter(members(limit))): 1.0}, xx=True)
    assert take(limit, member="d").reserved
    assert not take(limit, member="e").reserved


def members(limit: Members) -> list[bytes]:
    return manager().client().zrange(f"crm:pace:{limit.name}:members", 0, -1)


def test_an_emptied_set_is_read_again_from_where_it_is_known() -> None:
    asked = []

    def rebuild() -> list[tuple[str, datetime]]:
        asked.append(1)
        return [("a", datetime.now(UTC) - timedelta(hours=1)), ("b", datetime.now(UTC) - timedelta(hours=25))]

    limit = Members("portfolio", 2, rebuild)
    manager().client().flushall()
    assert [take(limit, member="c").reserved for _ in range(2)] == [False, False]
    manager().client().hset("crm:pace", "since", 1)
    assert [take(limit, member=name).reserved for name in "caacd"] == [True, True, True, True, False]
    assert len(asked) == 1
    assert b"a" not in members(limit)


def test_a_refusal_halves_a_rate_for_all_once_and_it_grows_back() -> None:
    for _ in range(3):
        pace.slow_down("channel")
    bucket = Bucket("channel", RATE)
    assert execute("SELECT name, factor FROM pace_rates") == [("channel", 0.5)]
    assert apart(taken(3, bucket)) == {2 * STEP}
    execute("UPDATE pace_rates SET changed_at = changed_at - interval '3 seconds'")
    pace.slow_down("channel")
    assert apart(taken(3, bucket)[1:]) == {4 * STEP}
    # 61 seconds later two tenths are back; after five minutes all is.
    slowed = kept("channel", "slowed")
    manager().client().hset("crm:pace:channel", "slowed", round((slowed - 61) * 1_000_000))
    assert apart(taken(3, bucket)[1:]) == {round(STEP / 0.45, 4)}
    manager().client().hset("crm:pace:channel", "slowed", round((slowed - 301) * 1_000_000))
    assert apart(taken(3, bucket)[1:]) == {STEP}


def test_a_learned_rate_survives_an_emptied_redis() -> None:
    pace.slow_down("channel")
    execute("UPDATE pace_rates SET changed_at = changed_at - interval '31 seconds'")
    manager().client().flushall()
    assert apart(taken(4, Bucket("channel", RATE))) == {round(STEP / 0.6, 4)}


def test_without_redis_who_is_in_a_set_passes_and_nobody_new_does() -> None:
    limit = Members("portfolio", 5, lambda: [("a", datetime.now(UTC))])
    taken(1, Bucket("b", RATE))
    with stopped(valkey_pid()):
        assert eventually(lambda: take(limit, Bucket("b", RATE), member="a").at)
        refused = take(limit, member="b")
        assert (refused.reserved, refused.gate) == (False, "portfolio")
    assert eventually(lambda: manager().ping())
    # Redis hears of it: its account is closed until every process has heard that it is back, and the set is read again.
    assert eventually(lambda: int(manager().client().hget("crm:pace", "since")) > 1 or take(Bucket("b", RATE)).reserved)
    assert eventually(lambda: take(limit, member="b").reserved)


def test_what_pace_keeps_in_redis_expires() -> None:
    for _ in range(60):
        take(Bucket("b", RATE), Members("m", 5, nobody), member="a")
    pace.slow_down("c")
    client: redis.Redis = manager().client()
    keys = list(client.scan_iter("crm:pace*"))
    assert len(keys) == 5
    assert all(client.pttl(key) > 0 for key in keys)


def test_a_job_takes_a_turn_of_its_queue_and_its_task_or_of_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = replace(settings().queues["messages"], rate=(10, timedelta(seconds=1)))
    monkeypatch.setitem(settings().queues, "messages", policy)
    monkeypatch.setitem(settings().task_rates, "messages.slow", (1, timedelta(hours=1)))
    assert pace.wait_for_job("messages", "messages.slow") == timedelta(0)
    assert pace.wait_for_job("messages", "messages.slow") > timedelta(minutes=50)
    before = pace.ahead(Bucket("queue:messages", 10))
    for _ in range(20):
        pace.wait_for_job("messages", "messages.slow")
    after = pace.ahead(Bucket("queue:messages", 10))
    # What the task's rate sent away has taken nothing of the queue's.
    assert before is not None
    assert after is not None
    assert after <= before
    assert pace.wait_for_job("messages", "messages.other") == timedelta(0)


def test_a_job_without_a_rate_waits_for_nothing_and_asks_nobody() -> None:
    assert pace.wait_for_job("messages", "messages.send") == timedelta(0)
    assert list(manager().client().scan_iter("crm:pace:*")) == []
