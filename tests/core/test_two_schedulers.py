"""Schedulers as processes, in nights of daylight saving that pass in seconds; one of two is stopped for a while."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_tasks.core.jobs.model import Job, JobState
from tests.core.conftest import Start
from tests.core.ledger import FAIL, NOTE, execute, job, jobs, lines, many, new, states, stopped, until
from tests.harness import Program, eventually, worker

SPRING, AUTUMN = "2027-03-28", "2026-10-25"
# What `timetable` has to fire from 23:30 UTC on, until the last hourly one.
EXPECTED = {
    SPRING: {"hourly": range(6), "half past two": ["01:00"], "three": ["01:00"]},
    AUTUMN: {"hourly": range(6), "half past two": ["00:30"], "three": ["02:00"]},
}


def scheduler(log: Path, name: str, **env: str) -> Program:
    return Program(name, ["celery", "-A", "tests.core.timetable", "beat"], log, env)


def instants_of(night: str) -> set[str]:
    expected = EXPECTED[night]
    found = {f"calendar:hourly:{night}T{hour:02}:00:00+00:00" for hour in expected["hourly"]}
    for name in ("half past two", "three"):
        found |= {f"calendar:{name}:{night}T{at}:00+00:00" for at in expected[name]}
    return found


def fired() -> Counter[str]:
    return Counter(row.unique_key or row.key_was or "" for row in jobs(Job.task == NOTE))


def go_through(night: str, clock: Callable[[str], None], *, speed: int) -> None:
    """Let the night pass so many times faster, until the clock stands still at 05:20 UTC."""
    began = datetime.now(UTC)
    passing = f"timestamptz '{night} 00:00Z' - interval '30 min' + (now() - timestamptz '{began}') * {speed}"
    clock(f"least({passing}, timestamptz '{night} 05:20Z')")


@pytest.mark.parametrize("night", [SPRING, AUTUMN])
@pytest.mark.parametrize(("speed", "pause"), [(1500, 3.0), pytest.param(300, 40.0, marks=pytest.mark.slow)])
def test_two_schedulers_of_which_one_is_stopped_give_each_instant_exactly_one_job(
    start: Start, tmp_path: Path, clock: Callable[[str], None], night: str, speed: int, pause: float
) -> None:
    """Jobs end at once here: nothing but the calendar remembers that an instant has had its job."""
    noted = tmp_path / "noted"
    clock(f"timestamptz '{night} 00:00Z' - interval '30 min'")
    start(worker(tmp_path, "messages", include="tests.tasks"))
    pair = [start(scheduler(tmp_path, name, TIMETABLE_LOG=str(noted))) for name in ("one", "two")]
    eventually(lambda: execute("SELECT count(*) FROM calendar") == [(3,)])
    go_through(night, clock, speed=speed)
    eventually(lambda: fired(), "the first instant", 60)
    with stopped(pair[0].pid):
        time.sleep(pause)
    if pause < 10:
        with stopped(pair[1].pid):
            time.sleep(pause)
    eventually(lambda: set(fired()) >= instants_of(night), "all fire", 120)
    eventually(lambda: set(states()) == {"succeeded"}, "all run", 60)
    time.sleep(1.5)  # two more turns of each scheduler
    assert fired() == dict.fromkeys(instants_of(night), 1)
    assert len(lines(noted)) == len(instants_of(night))
    assert all(each.popen is not None and each.popen.poll() is None for each in pair)


def test_without_a_scheduler_delayed_jobs_are_late_and_nothing_else(start: Start, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    start(worker(tmp_path, "messages", include="tests.tasks"))
    delayed = many(3, args={"path": str(noted)}, run_at=datetime.now(UTC) + timedelta(seconds=1))
    failing = new(FAIL, args={"kind": "permanent"})
    at_once = new(args={"path": str(noted)})
    until(at_once, JobState.SUCCEEDED)
    until(failing, JobState.DEAD)
    time.sleep(2.0)
    assert states(delayed) == {"queued": 3}
    assert {job(each).rung_at for each in delayed} == {None}
    start(scheduler(tmp_path, "late"))
    eventually(lambda: states(delayed) == {"succeeded": 3}, "all run once there is one", 30)
    assert lines(noted) == ["x"] * 4


def test_an_entry_whose_instants_all_passed_without_a_scheduler_is_caught_up_with(
    start: Start, tmp_path: Path, clock: Callable[[str], None]
) -> None:
    clock(f"timestamptz '{AUTUMN} 00:00Z' - interval '30 min'")
    first = start(scheduler(tmp_path, "first"))
    eventually(lambda: execute("SELECT count(*) FROM calendar") == [(3,)])
    first.kill()
    clock(f"timestamptz '{AUTUMN} 05:20Z'")
    start(scheduler(tmp_path, "second"))
    eventually(lambda: set(fired()) == instants_of(AUTUMN), "all fire", 30)
    assert set(fired().values()) == {1}
