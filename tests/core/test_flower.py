"""Celery around a worker: results, foreign messages, revokes and Flower see what the ledger says."""

import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from celery.exceptions import TaskRevokedError

from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.jobs import repair, ring
from crm_tasks.core.jobs.model import JobState
from tests import tasks
from tests.core.ledger import FAIL, counted_by, job, lines, new, ring_now, said, until
from tests.harness import Program, eventually

pytestmark = pytest.mark.usefixtures("empty")


def test_delay_makes_a_row_and_its_result_is_read_from_the_ledger(threads: Program, tmp_path: Path) -> None:
    result = tasks.note.delay(str(tmp_path / "noted"), text="a")
    row = job(uuid.UUID(result.id))
    assert row.args == {"path": str(tmp_path / "noted"), "text": "a"}
    assert result.get(timeout=10) == {"wrote": "a"}
    assert result.successful() and result.state == "SUCCESS"
    assert lines(tmp_path / "noted") == ["a"]


def test_the_result_of_a_dead_job_is_its_error_and_of_a_cancelled_one_that_it_was(threads: Program) -> None:
    result = tasks.fail.delay(kind="permanent", message="no such number")
    with pytest.raises(RuntimeError, match="Permanent: no such number"):
        result.get(timeout=10)
    assert result.failed()
    waiting = tasks.note.apply_async(["x"], countdown=3600)
    assert waiting.state == "PENDING" and not waiting.ready()
    with db.transaction() as session:
        repair.cancel(session, uuid.UUID(waiting.id), actor="ann", reason="not needed")
    assert waiting.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="not needed"):
        waiting.get(timeout=10)


def test_a_message_without_a_row_is_counted_and_logged_and_never_run(threads: Program, tmp_path: Path) -> None:
    before = counted_by("w@test", "rings_foreign")
    with app.connection_for_write() as connection:
        for task_id in (str(uuid.uuid4()), "somebody's own"):
            kwargs = {"path": str(tmp_path / "noted")}
            app.send_task("messages.test_note", kwargs=kwargs, task_id=task_id, connection=connection)
    until(new(args={"path": str(tmp_path / "ours")}), JobState.SUCCEEDED)
    eventually(lambda: counted_by("w@test", "rings_foreign") == before + 2)
    assert len(said(threads.said(), "job.not_in_ledger")) >= 2
    assert lines(tmp_path / "noted") == []


def test_a_revoke_cancels_in_the_ledger_what_waits_and_what_runs(threads: Program, tmp_path: Path) -> None:
    running = new("messages.test_steps", args={"count": 300, "path": str(tmp_path / "steps")})
    waiting = new(run_at=datetime(2100, 1, 1, tzinfo=UTC))
    until(running, JobState.RUNNING)
    app.control.revoke([str(running), str(waiting)])
    for job_id in (running, waiting):
        assert until(job_id, JobState.CANCELLED).reason == "revoked in Celery (by celery revoke)"


def test_a_terminate_cancels_and_kills_nobody(threads: Program, tmp_path: Path) -> None:
    job_id = new("messages.test_steps", args={"count": 300, "path": str(tmp_path / "steps")})
    until(job_id, JobState.RUNNING)
    app.control.terminate(str(job_id))
    until(job_id, JobState.CANCELLED)
    until(new(), JobState.SUCCEEDED)


def test_after_a_revoke_later_rings_of_the_same_job_still_work(threads: Program) -> None:
    """Celery itself would swallow every ring of a revoked id for three hours."""
    job_id = new(FAIL, args={"kind": "permanent"})
    until(job_id, JobState.DEAD)
    app.control.revoke(str(job_id))
    eventually(lambda: any(str(job_id) == s["job_id"] for s in said(threads.said(), "job.not_cancelled")))
    assert job(job_id).state is JobState.DEAD
    with db.transaction() as session:
        repair.retry(session, job_id, actor="ann")
    eventually(lambda: job(job_id).claim_no == 2 and job(job_id).state is JobState.DEAD)


def test_flower_is_told_what_the_ledger_says(threads: Program) -> None:
    with events() as seen:
        done, retried, snoozed, dead = (
            new(),
            new(FAIL, args={"kind": "transient"}),
            new(FAIL, args={"kind": "snooze"}),
            new(FAIL, args={"kind": "permanent", "message": "+15550001111", "code": "131026"}),
        )
        eventually(lambda: [e for e in seen[dead] if e["type"] == "task-failed"])
        eventually(lambda: [e for e in seen[done] if e["type"] == "task-succeeded"])
        eventually(lambda: "task-retried" in types(seen[retried]) and "task-retried" in types(seen[snoozed]))
        assert "task-succeeded" not in types(seen[retried]) + types(seen[snoozed]) + types(seen[dead])
        assert "+1555" not in str(dict(seen)) and "131026" in str(seen[dead])
        # A ring that finds nothing to claim is neither a success nor a failure.
        ring.publish([ring.Ring(done, "messages.test_note", "messages", 5)])
        eventually(lambda: types(seen[done]).count("task-started") == 2)
        ring_now(retried)
        eventually(lambda: types(seen[retried]).count("task-retried") == 2)
        assert types(seen[done]).count("task-succeeded") == 1
        assert not {"task-failed", "task-retried"} & {*types(seen[done])}


def types(events_: list[dict]) -> list[str]:
    return [event["type"] for event in events_]


@contextmanager
def events() -> Iterator[dict[uuid.UUID, list[dict]]]:
    """Listen as Flower does."""
    seen: dict[uuid.UUID, list[dict]] = defaultdict(list)
    ready = threading.Event()

    def note(event: dict) -> None:
        if "uuid" in event:
            seen[uuid.UUID(event["uuid"])].append(event)

    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": note})

        receiver.on_consume_ready = lambda *_, **__: ready.set()
        listener = threading.Thread(target=lambda: receiver.capture(limit=None, timeout=None), daemon=True)
        listener.start()
        assert ready.wait(10)
        try:
            yield seen
        finally:
            receiver.should_stop = True
            listener.join(10)
