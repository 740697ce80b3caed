"""The nightly clean-up: rows of every kind, the clock moved; what is young, dead or unread stays."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_tasks.analytics import service, tasks
from crm_tasks.core import db, partitions
from crm_tasks.core.errors import Cancelled
from crm_tasks.core.jobs import claim as claims
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.types import id_floor
from crm_tasks.schedule import ENTRIES
from tests.cli.terminal import data, said
from tests.core.conftest import Start
from tests.core.ledger import counted_by, execute, job, jobs, new, take, until
from tests.fixtures import Demo
from tests.harness import beat, eventually, worker

CLEAN_UP = "analytics.clean_up"
AGES = (1, 8, 31, 500)  # days


def finished(days: int, state: str = "succeeded", **options: object) -> uuid.UUID:
    """Make a job that ended so many days ago."""
    job_id = new(**options)
    moment = datetime.now(UTC) - timedelta(days=days)
    old_id = uuid.UUID(int=id_floor(moment).int | uuid.uuid4().int >> 70)
    execute(
        "UPDATE jobs SET id = :old, state = :state, finished_at = :at, created_at = :at, unique_key = NULL "
        "WHERE id = :id",
        old=old_id,
        state=state,
        at=moment,
        id=job_id,
    )
    return old_id


def notification(workspace_id: uuid.UUID, kind: str, days: int, *, read: bool) -> None:
    execute(
        "INSERT INTO notifications (id, workspace_id, kind, severity, title, text, read_at, first_at, last_at) VALUES "
        "(gen_random_uuid(), :workspace, :kind, 'info', 't', 't', CASE WHEN :read THEN :at END, :at, :at)",
        workspace=workspace_id,
        kind=kind,
        read=read,
        at=datetime.now(UTC) - timedelta(days=days),
    )


def part(table: str) -> list[str]:
    with db.transaction() as session:
        return partitions.older(session, table, datetime.now(UTC) + timedelta(days=4000))


def event(moment: datetime) -> None:
    """Keep a raw event of a moment, in whatever part there is for it."""
    execute(
        "INSERT INTO inbound_events (id, provider, body, received_at) VALUES (:id, 'whatsapp', '', :at)",
        id=uuid.UUID(int=id_floor(moment).int | uuid.uuid4().int >> 70),
        at=moment,
    )


@pytest.fixture
def old(demo: Demo) -> Demo:
    """Rows of all kinds and ages."""
    for days in AGES:
        for state in ("succeeded", "cancelled", "dead"):
            finished(days, state)
        execute(
            "INSERT INTO idempotency_keys (workspace_id, key, fingerprint, created_at) VALUES "
            "(:workspace, :key, 'x', now() - make_interval(days => :days))",
            workspace=demo.workspace_id,
            key=f"key {days}",
            days=days,
        )
        for read in (True, False):
            notification(demo.workspace_id, f"{days}", days, read=read)
        event(datetime.now(UTC) - timedelta(days=days))
    finished(2, keep=timedelta(days=1))
    finished(20, keep=timedelta(days=30))
    return demo


WOULD_GO = {
    "jobs of messages": 6,
    "jobs with their own time": 1,
    "idempotency keys": 2,
    "read notifications": 2,
    "raw events outside their parts": 2,
}


def run_all() -> dict[str, int]:
    removed = {}
    for what in service.clean_ups():
        while count := db.retrying(service.step, what):
            removed[what.name] = removed.get(what.name, 0) + count
    return removed


def test_what_is_old_goes_and_what_is_young_dead_or_unread_stays(old: Demo) -> None:
    due = db.retrying(service.due)
    assert {name: count for name, count in due.items() if count} == WOULD_GO
    assert run_all() == WOULD_GO
    left = jobs()
    assert sorted(str(each.state) for each in left) == ["cancelled", *["dead"] * 4, "succeeded", "succeeded"]
    assert [key for (key,) in execute("SELECT key FROM idempotency_keys ORDER BY key")] == ["key 1", "key 8"]
    kinds = execute("SELECT kind, read_at IS NOT NULL FROM notifications ORDER BY 2, kind::int")
    assert [tuple(row) for row in kinds] == [*((f"{days}", False) for days in AGES), ("1", True), ("8", True)]
    assert execute("SELECT count(*) FROM inbound_events") == [(2,)]
    assert set(db.retrying(service.due).values()) == {0}


def test_a_dry_run_shows_the_same_and_removes_nothing(old: Demo) -> None:
    shown = data("cleanup", "--dry-run")
    assert {name: count for name, count in shown.items() if count} == WOULD_GO
    assert "30 days" in said("cleanup", "--dry-run")
    assert len(jobs()) == 14


def test_a_transaction_removes_no_more_than_a_batch(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(7):
        finished(30)
    monkeypatch.setattr(service, "BATCH", 3)
    what = next(each for each in service.clean_ups() if each.name == "jobs of messages")
    assert [db.retrying(service.step, what) for _ in range(4)] == [3, 3, 1, 0]


def test_what_somebody_is_at_is_left_for_the_next_time(empty: None) -> None:
    busy, free = finished(30), finished(30)
    what = next(each for each in service.clean_ups() if each.name == "jobs of messages")
    with db.transaction() as session:
        session.get(Job, busy, with_for_update=True)
        assert db.retrying(service.step, what) == 1
    assert [each.id for each in jobs()] == [busy] != [free]


def test_old_parts_are_dropped_and_coming_ones_made(empty: None, clock: Callable[[str], None]) -> None:
    db.retrying(service.prepare)
    present = part("inbound_events")
    event(datetime.now(UTC))
    clock("now() + interval '20 days'")
    assert "raw events, parts" not in run_all()
    clock("now() + interval '45 days'")
    db.retrying(service.prepare)
    assert run_all()["raw events, parts"] == len(present)
    assert len(part("inbound_events")) == 4
    assert execute("SELECT count(*) FROM inbound_events") == [(0,)]
    clock("now()")
    db.retrying(service.prepare)


def test_rows_that_came_before_their_part_keep_no_other_part_from_being_made(
    empty: None, clock: Callable[[str], None]
) -> None:
    """Nobody made parts for weeks, while webhooks came."""
    moment = datetime.now(UTC) + timedelta(days=60)
    event(moment)
    clock("now() + interval '60 days'")
    db.retrying(service.prepare)
    made = part("inbound_events")
    assert f"inbound_events_{moment:%Y%m%d}" not in made
    assert f"inbound_events_{moment + timedelta(days=1):%Y%m%d}" in made
    clock("now() + interval '95 days'")
    assert run_all()["raw events outside their parts"] == 1
    for name in part("inbound_events"):
        execute(f"DROP TABLE {name}")
    clock("now()")
    db.retrying(service.prepare)


# --- as a job ----------------------------------------------------------------------------------------------------


def test_two_schedulers_have_it_done_once_at_three(
    start: Start,
    tmp_path: Path,
    clock: Callable[[str], None],
    demo: Demo,
) -> None:
    day = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    clock(f"timestamptz '{day} 02:59:58Z'")
    for days in AGES:
        finished(days)
    for name in ("one", "two"):
        start(beat(tmp_path, name))
    eventually(lambda: execute("SELECT 1 FROM calendar WHERE entry = 'clean-up'"), "planned", 60)
    clock(f"timestamptz '{day} 03:00:01Z'")
    eventually(lambda: jobs(Job.task == CLEAN_UP), "fired", 60)
    start(worker(tmp_path, "analytics", pool="prefork", concurrency=1, LEASE_RENEWAL="1"))
    (fired,) = jobs(Job.task == CLEAN_UP)
    done = until(fired.id, JobState.SUCCEEDED, 30)
    assert done.result["jobs of messages"] == 3
    assert len(jobs(Job.task == CLEAN_UP)) == 1
    eventually(lambda: counted_by("w@test", "cleaned_rows") >= 3 or counted_by("", "cleaned_rows") >= 3, "counted")
    assert [entry.task for entry in ENTRIES if entry.cron == "0 3 * * *"] == [CLEAN_UP]


def at_work(task_id: uuid.UUID) -> None:
    """Run a clean-up in this process as its worker would."""
    claim = take(task_id)
    held = claims.current.set(claim)
    try:
        result = tasks.clean_up.run()
        if not claim.finished:
            with db.autocommit() as connection:
                claims.finish(connection, claim, result)
    finally:
        claims.current.reset(held)


def test_with_too_much_for_one_job_another_goes_on(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        finished(30)
    monkeypatch.setattr(service, "BATCH", 2)
    monkeypatch.setattr(tasks, "SHARE", 0.0)
    job_id, results = new(CLEAN_UP), []
    while job_id:
        at_work(job_id)
        results.append(job(job_id).result)
        waiting = jobs(Job.task == CLEAN_UP, Job.state == JobState.QUEUED)
        job_id = waiting[0].id if waiting else None
    assert results == [{"jobs of messages": count} for count in (2, 2, 1)] + [{}]


def test_it_stops_when_it_is_cancelled(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        finished(30)
    monkeypatch.setattr(service, "BATCH", 1)
    claim = take(new(CLEAN_UP))
    real = service.step

    def step(*given: object) -> int:
        count = real(*given)  # type: ignore[arg-type]
        claim.lost = True  # what the pulse notices of a cancelled job
        return count

    monkeypatch.setattr(service, "step", step)
    held = claims.current.set(claim)
    try:
        with pytest.raises(Cancelled):
            tasks.clean_up.run()
    finally:
        claims.current.reset(held)
    assert len(jobs(Job.task != CLEAN_UP)) == 3
    with db.transaction() as session:
        repair.cancel(session, claim.id, actor="test")


def test_it_can_be_asked_for(empty: None) -> None:
    job_id = data("cleanup")["job_id"]
    assert "crm job show" in said("cleanup")
    (asked,) = jobs(Job.task == CLEAN_UP)
    assert str(asked.id) == job_id
