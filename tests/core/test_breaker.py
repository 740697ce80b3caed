"""Circuit breakers: opened by failures, for longer each time, tried by exactly one, by whichever process."""

import subprocess
import sys
from datetime import timedelta

import orjson
import pytest

from crm_tasks.core import breaker
from crm_tasks.core.breaker import CALLS, FIRST, LONGEST, PROBE, WINDOW, Position
from crm_tasks.core.redis import manager
from tests.core.ledger import in_threads, stopped, valkey_pid
from tests.harness import ROOT, eventually

KEY = "crm:breaker:endpoint:1"
# Asks as often as it is told to, and prints how often it was let through.
ASKER = """
import sys
from crm_tasks.core import breaker
sys.stdin.readline()
print(sum(breaker.before("endpoint:1") is None for _ in range(100)))
"""


def report(*answers: bool) -> None:
    for ok in answers:
        breaker.report("endpoint:1", ok)


def before() -> timedelta | None:
    return breaker.before("endpoint:1")


def position() -> Position:
    return breaker.state("endpoint:1").state


def pass_time(seconds: float) -> None:
    """Move all that is kept into the past."""
    kept = orjson.loads(manager().client().get(KEY))
    for name in ("since", "until", "probe"):
        kept[name] -= seconds if kept[name] else 0
    kept["half"] -= int(seconds / (WINDOW / 2))
    manager().client().set(KEY, orjson.dumps(kept), px=60_000)


def opened() -> None:
    report(*[False] * CALLS)
    assert position() is Position.OPEN


def test_an_unused_breaker_is_closed(empty: None) -> None:
    assert before() is None
    state = breaker.state("endpoint:1")
    assert (state.state, state.since, state.until, state.failures, state.calls) == ("closed", None, None, 0, 0)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([False] * (CALLS - 1), Position.CLOSED),
        ([False] * CALLS, Position.OPEN),
        ([True] * 6 + [False] * 5, Position.CLOSED),
        ([True] * 6 + [False] * 6, Position.OPEN),
        ([False] * 5 + [True] * 5, Position.CLOSED),
        ([False] * 5 + [True] * 4 + [False], Position.OPEN),
    ],
)
def test_it_opens_when_half_of_at_least_ten_calls_fail(empty: None, answers: list[bool], expected: Position) -> None:
    report(*answers)
    assert position() is expected
    assert breaker.state("endpoint:1").calls == len(answers)


def test_failures_of_another_half_minute_do_not_count(empty: None) -> None:
    report(*[False] * (CALLS - 1))
    pass_time(2 * WINDOW)
    report(False)
    assert position() is Position.CLOSED
    assert breaker.state("endpoint:1").calls == 1


def test_an_open_one_says_how_long_and_what_opened_it(empty: None) -> None:
    opened()
    wait, state = before(), breaker.state("endpoint:1")
    assert wait is not None and timedelta(seconds=FIRST - 2) < wait <= timedelta(seconds=FIRST)
    assert state.since is not None and state.until == state.since + timedelta(seconds=FIRST)
    assert (state.failures, state.calls) == (CALLS, CALLS)
    report(True)  # begun before it opened
    assert position() is Position.OPEN


def test_one_probe_and_its_success_closes(empty: None) -> None:
    opened()
    pass_time(FIRST)
    assert position() is Position.HALF_OPEN
    assert before() is None
    assert [before() is None for _ in range(5)] == [False] * 5
    report(True)
    assert (position(), before()) == (Position.CLOSED, None)
    assert breaker.state("endpoint:1").calls == 0


def test_a_failed_probe_doubles_the_time_up_to_five_minutes(empty: None) -> None:
    opened()
    lengths = []
    for _ in range(6):
        state = breaker.state("endpoint:1")
        assert state.until is not None and state.since is not None
        lengths.append((state.until - state.since).total_seconds())
        pass_time(lengths[-1])
        assert before() is None
        report(False)
    assert lengths == pytest.approx([15, 30, 60, 120, 240, LONGEST], abs=0.001)


def test_a_probe_whose_worker_died_is_not_waited_for_for_ever(empty: None) -> None:
    opened()
    pass_time(FIRST)
    assert before() is None
    assert before() is not None
    pass_time(PROBE)
    assert before() is None


def test_of_many_processes_exactly_one_probes(empty: None) -> None:
    opened()
    pass_time(FIRST)
    askers = [
        subprocess.Popen(
            [sys.executable, "-c", ASKER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    through = [int(asker.communicate("go\n", timeout=30)[0]) for asker in askers]
    assert sum(through) == 1


def test_reports_at_the_same_moment_are_all_counted(empty: None) -> None:
    in_threads(*[lambda: report(*[True] * 5) for _ in range(2)])
    assert breaker.state("endpoint:1").calls == 10


def test_breakers_do_not_know_each_other_and_expire(empty: None) -> None:
    opened()
    assert breaker.before("endpoint:2") is None
    assert manager().client().pttl(KEY) > 0


def test_without_redis_each_process_has_its_own(empty: None) -> None:
    with stopped(valkey_pid()):
        report(*[False] * CALLS)
        assert position() is Position.OPEN
        assert before() is not None
    assert eventually(lambda: manager().ping())
    eventually(lambda: position() is Position.CLOSED)
