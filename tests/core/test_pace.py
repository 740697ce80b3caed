"""The rate governor: slots evenly spaced over all processes, no bursts, not even when Redis forgets."""

import itertools
import subprocess
import sys
import time
from datetime import timedelta

import redis

from crm_tasks.core import pace
from crm_tasks.core.redis import manager
from tests.core.ledger import stopped, valkey_pid
from tests.harness import ROOT, eventually

STEP = timedelta(milliseconds=50)
# Takes as many slots as it can get for a while, and prints how many.
TAKER = """
import sys, time
from datetime import timedelta
from crm_tasks.core import pace
end, taken = time.monotonic() + 1.5, 0
while time.monotonic() < end:
    taken += pace.slot("shared", timedelta(milliseconds=50)).reserved
    time.sleep(0.001)
print(taken)
"""


def kept(name: str) -> float:
    """Return a moment that is kept in Redis, in seconds of its clock."""
    return int(manager().client().get(f"crm:pace:{name}")) / 1_000_000


def reserve(count: int, bucket: str = "b") -> list[float]:
    """Take slots and return the moments they are for."""
    taken: list[float] = []
    while len(taken) < count:
        if pace.slot(bucket, STEP).reserved:
            taken.append(kept(bucket) - STEP.total_seconds())
        else:
            time.sleep(0.01)
    return taken


def apart(moments: list[float]) -> set[float]:
    return {round(later - earlier, 4) for earlier, later in itertools.pairwise(moments)}


def test_several_processes_together_get_no_more_slots_than_there_are(empty: None) -> None:
    pace.slot("shared", STEP)
    first = kept("shared")
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    taken = sum(int(taker.communicate(timeout=30)[0]) for taker in takers)
    assert taken > 10
    # Every one of them moved the next free slot by one step; none was given twice.
    assert kept("shared") >= first + taken * 0.05 - 0.001
    seconds, rest = manager().client().time()
    assert kept("shared") <= seconds + rest / 1_000_000 + 1.06


def test_a_slot_is_reserved_at_most_a_second_ahead_and_the_rest_is_sent_away_evenly(empty: None) -> None:
    reserved, away = [], []
    for _ in range(60):
        answer = pace.slot("b", STEP)
        (reserved if answer.reserved else away).append((answer.wait, kept("b" if answer.reserved else "b:tail")))
    assert max(wait for wait, _ in reserved) <= pace.AHEAD
    assert reserved and apart([moment for _, moment in reserved]) <= {0.05}
    # Each has a moment of its own behind the others: they neither poll nor all come back at once.
    assert len(away) > 10
    assert apart([moment for _, moment in away]) == {0.05}
    assert away[0][1] > reserved[-1][1]


def test_buckets_do_not_know_each_other(empty: None) -> None:
    assert [pace.slot(f"b{n}", timedelta(hours=1)).reserved for n in range(5)] == [True] * 5
    assert not pace.slot("b0", timedelta(hours=1)).reserved


def test_a_redis_that_forgets_grants_no_burst(empty: None) -> None:
    before = reserve(25)
    manager().client().flushall()
    after = reserve(5)
    # What was reserved before is over when the first new one comes.
    assert apart(before) == apart(after) == {0.05}
    assert after[0] >= before[-1]


def test_without_redis_nothing_is_granted(empty: None) -> None:
    with stopped(valkey_pid()):
        assert pace.slot("b", STEP) == (False, timedelta(seconds=1))
    assert eventually(lambda: manager().ping())


def test_what_pace_keeps_in_redis_expires(empty: None) -> None:
    for _ in range(60):
        pace.slot("b", STEP)
    client: redis.Redis = manager().client()
    keys = list(client.scan_iter("crm:pace:*"))
    assert len(keys) == 2
    assert all(client.pttl(key) > 0 for key in keys)


def test_a_queue_without_a_rate_waits_for_nothing_and_asks_nobody(empty: None) -> None:
    assert pace.wait_for_queue("messages") == timedelta(0)
    assert list(manager().client().scan_iter("crm:pace:*")) == []
