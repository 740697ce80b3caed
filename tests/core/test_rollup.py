"""Roll-ups: what finished is counted once, in minutes while they are young and in days afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest

from crm_tasks.core import db, overview, rollup
from crm_tasks.core.jobs.model import JobState
from tests.core.conftest import Start
from tests.core.ledger import execute, many, new, until, update
from tests.harness import worker

DAYS = 5
_CLOCK = "timestamptz '2026-11-20 12:00:00+00'"


@pytest.fixture
def finished(clock: Callable[[str], None]) -> None:
    """Give jobs that ended three a day, at 00:00, 10:30 and 10:31, over five days."""
    clock(_CLOCK)
    for day in range(DAYS):
        for minute, state in (("00:00:05", "succeeded"), ("10:30:59", "succeeded"), ("10:31:00", "dead")):
            at = f"timestamptz '2026-11-{15 + day} {minute}+00'"
            times = f"run_at = {at}, created_at = {at}, started_at = {at}, finished_at = {at}, rung_at = NULL"
            update(many(1), f"state = '{state}', {times}")
    while db.retrying(rollup.roll_up):
        pass


def statistics() -> list[dict]:
    with db.transaction() as session:
        return overview.statistics(session, days=30)


def test_each_day_has_what_ended_on_it(finished: None) -> None:
    counts = {row["day"]: (row["succeeded"], row["dead"]) for row in statistics() if row["queue"] == "messages"}
    assert counts == {f"2026-11-{day}": (2, 1) for day in range(15, 15 + DAYS)}


def test_minutes_of_old_days_become_one_row_and_no_figure_changes(finished: None) -> None:
    before = statistics()
    with db.transaction() as session:
        completed = overview.completed(session)
    while db.retrying(rollup.fold_day):
        pass
    kept = execute("SELECT minute::text, state FROM job_minutes ORDER BY minute, state")
    days = [f"2026-11-{day} 00:00:00+00" for day in (15, 16, 17)]
    assert [tuple(row) for row in kept if row.minute in days] == [(d, s) for d in days for s in ("dead", "succeeded")]
    assert len(kept) == 3 * 2 + 2 * 3
    assert statistics() == before
    with db.transaction() as session:
        assert overview.completed(session) == completed


def test_what_is_rolled_up_late_joins_its_folded_day(finished: None) -> None:
    while db.retrying(rollup.fold_day):
        pass
    execute(
        "INSERT INTO job_minutes SELECT minute + interval '11 hours', queue, state, jobs, run, wait "
        "FROM job_minutes WHERE minute = timestamptz '2026-11-15 00:00:00+00'"
    )
    while db.retrying(rollup.fold_day):
        pass
    day = execute("SELECT state, jobs FROM job_minutes WHERE minute < timestamptz '2026-11-16 00:00:00+00'")
    assert {row.state: row.jobs for row in day} == {"succeeded": 4, "dead": 2}


def test_the_nightly_clean_up_folds_every_old_day(finished: None, start: Start, tmp_path: Path) -> None:
    start(worker(tmp_path, "analytics"))
    done = until(new("analytics.clean_up", args={}), JobState.SUCCEEDED)
    assert done.result["minutes of old days"] == 9
