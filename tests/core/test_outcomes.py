"""A job from its enqueue to each of its outcomes, in real workers of both kinds."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_tasks.core import db, sweep
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.queues import Queue
from tests.core.ledger import FAIL, NOTE, execute, job, jobs, lines, many, new, ring_now, said, until
from tests.harness import Program, eventually

STEPS = "messages.test_steps"
pytestmark = pytest.mark.usefixtures("empty")


def test_a_job_runs_once_and_its_row_tells_all(either_pool: Program, tmp_path: Path) -> None:
    workspace_id, parent, trace = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    job_id = new(
        args={"path": str(tmp_path / "noted"), "text": "once"},
        workspace_id=workspace_id,
        scopes=["channel:1"],
        parent=parent,
        trace=trace,
        keep=timedelta(hours=1),
    )
    done = until(job_id, JobState.SUCCEEDED)
    assert lines(tmp_path / "noted") == ["once"]
    assert (done.queue, done.claim_no, done.attempt, done.crashes, done.rings) == ("messages", 1, 0, 0, 0)
    assert (done.workspace_id, done.scopes) == (workspace_id, ["channel:1"])
    assert (done.parent_id, done.trace_id) == (parent, trace)
    assert (done.result, done.keep, done.lease_until) == ({"wrote": "once"}, timedelta(hours=1), None)
    assert done.created_at <= done.started_at <= done.finished_at  # type: ignore[operator]
    assert (done.worker or "").startswith("w@test:")


def test_what_a_job_starts_knows_its_parent_and_its_trace(either_pool: Program, tmp_path: Path) -> None:
    trace = uuid.uuid4()
    parent = new("messages.test_start_another", args={"path": str(tmp_path / "noted")}, trace=trace)
    eventually(lambda: lines(tmp_path / "noted"))
    [child] = jobs(Job.task == NOTE)
    assert (child.parent_id, child.trace_id) == (parent, trace)


@pytest.mark.parametrize(("kind", "error"), [("transient", "Transient"), ("bug", "ValueError")])
def test_a_failure_is_retried_by_the_queues_policy_and_then_dead(either_pool: Program, kind: str, error: str) -> None:
    job_id = new(FAIL, args={"kind": kind, "message": "it broke"})
    for attempt, backoff in ((1, 5.0), (2, 10.0)):
        row = eventually(lambda attempt=attempt: r if (r := job(job_id)).attempt == attempt else None)
        seen = datetime.now(UTC)
        assert (row.state, row.rung_at, row.lease_until) == (JobState.QUEUED, None, None)
        # A fifth more or less, so that what failed together does not come back together.
        assert (
            row.started_at + timedelta(seconds=backoff * 0.8) <= row.run_at <= seen + timedelta(seconds=backoff * 1.2)
        )
        ring_now(job_id)
    row = until(job_id, JobState.DEAD)
    assert (row.attempt, row.max_attempts, row.claim_no, row.crashes) == (3, 3, 3, 0)
    assert [(e["class"], e["message"], e["attempt"]) for e in row.errors] == [(error, "it broke", n) for n in (1, 2, 3)]
    assert all("in fail" in e["traceback"][-1] and e["host"] and e["worker"] for e in row.errors)
    assert row.finished_at is not None and row.fingerprint is not None


def test_what_fails_together_does_not_come_back_together(either_pool: Program) -> None:
    many(10, FAIL, args={"kind": "transient"})
    rows = eventually(lambda: found if len(found := jobs(Job.attempt == 1)) == 10 else None)
    assert len({round((row.run_at - row.started_at).total_seconds(), 2) for row in rows}) > 5


def test_a_permanent_failure_is_dead_at_once(either_pool: Program) -> None:
    row = until(new(FAIL, args={"kind": "permanent", "code": "131026"}), JobState.DEAD)
    assert (row.attempt, row.claim_no, len(row.errors), row.errors[0]["code"]) == (1, 1, 1, "131026")


def test_a_snooze_uses_no_attempt_and_leaves_no_error(either_pool: Program) -> None:
    job_id = new(FAIL, args={"kind": "snooze"})
    for claim_no in (1, 2, 3, 4):
        row = eventually(lambda n=claim_no: r if (r := job(job_id)).claim_no == n and r.state == "queued" else None)
        assert (row.attempt, row.errors, row.fingerprint) == (0, [], None)
        assert row.run_at >= row.started_at + timedelta(seconds=1)
        ring_now(job_id)


def test_progress_is_visible_while_a_job_runs_and_gone_after(either_pool: Program, tmp_path: Path) -> None:
    job_id = new(STEPS, args={"count": 12, "path": str(tmp_path / "steps")})
    shown = eventually(lambda: job(job_id).progress)
    assert shown["total"] == 12 and 0 <= shown["done"] < 12
    done = until(job_id, JobState.SUCCEEDED)
    assert (done.progress, done.result) == (None, {"steps": 12})


def test_a_job_cancelled_while_it_runs_stops_at_its_next_look(either_pool: Program, tmp_path: Path) -> None:
    job_id = new(STEPS, args={"count": 300, "path": str(tmp_path / "steps")})
    eventually(lambda: len(lines(tmp_path / "steps")) > 2)
    with db.transaction() as session:
        repair.cancel(session, job_id, actor="ann")
    eventually(lambda: [s for s in said(either_pool.said(), "job.given_up") if s["job_id"] == str(job_id)])
    assert len(lines(tmp_path / "steps")) < 300
    row = job(job_id)
    assert (row.state, row.reason, row.errors) == (JobState.CANCELLED, "cancelled (by ann)", [])


def test_what_cannot_be_written_of_a_job_is_at_least_said(either_pool: Program, rows: None) -> None:
    job_id = new("messages.test_followed", args={"row": 1, "broken": True})
    [line] = eventually(
        lambda: [s for s in said(either_pool.said(), "job.outcome_not_written") if s["job_id"] == str(job_id)]
    )
    assert line["exception"]["message"] == "a mistake in the room of this task"
    assert job(job_id).state is JobState.RUNNING


def test_a_room_hears_how_its_job_left(either_pool: Program, rows: None) -> None:
    job_id = new("messages.test_followed", args={"row": 1}, max_attempts=1)
    until(job_id, JobState.DEAD)
    assert execute("SELECT state FROM test_rows") == [("dead",)]


def test_a_future_job_waits_for_its_moment_by_the_clock_of_the_database(either_pool: Program, clock) -> None:
    moment = datetime.now(UTC) + timedelta(hours=3)
    job_id = new(run_at=moment)
    waiting = job(job_id)
    assert (waiting.state, waiting.rung_at, waiting.run_at) == (JobState.QUEUED, None, moment)
    clock("now() + interval '4 hours'")
    sweep.ring_due(Queue.MESSAGES)
    assert until(job_id, JobState.SUCCEEDED).started_at > moment  # type: ignore[operator]


def test_each_event_of_a_job_is_one_line_of_json_with_its_id_and_without_its_arguments(
    either_pool: Program, tmp_path: Path
) -> None:
    mark = len(either_pool.said().encode())
    job_id = new(args={"path": str(tmp_path / "noted"), "text": "secret-4711"})
    until(job_id, JobState.SUCCEEDED)
    dead = new(FAIL, args={"kind": "permanent", "message": "secret-4712"})
    until(dead, JobState.DEAD)
    eventually(lambda: said(either_pool.said(mark), "job.dead"))
    log = either_pool.said(mark)
    for event, wanted in (
        ("job.started", job_id),
        ("job.succeeded", job_id),
        ("job.started", dead),
        ("job.dead", dead),
    ):
        [line] = [line for line in said(log, event) if line["job_id"] == str(wanted)]
        assert line["task"] and line["trace_id"] == str(wanted)
    assert "secret-47" not in log
