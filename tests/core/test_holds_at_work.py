"""Holds over running processes: obeyed at once by all of them, by later ones too, and kept over every restart."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_tasks.core import db, holds
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.model import Hold, Job, JobState
from tests.core.conftest import Start
from tests.core.ledger import EVERY_MINUTE, jobs, lines, many, new, states
from tests.harness import Program, beat, eventually, worker

SPAN = "messages.test_span"


def some_worker(log: Path, name: str) -> Program:
    return worker(log, "messages", name=name, include="tests.tasks", concurrency=2)


def place(scope: str, **options) -> Hold:
    return db.retrying(holds.place, scope, reason="testing", actor="ann", **options)


def last_start() -> datetime:
    return max(row.started_at for row in jobs(Job.started_at.is_not(None)) if row.started_at)


def test_a_hold_binds_all_workers_within_two_seconds_later_ones_too_and_outlives_every_restart(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "spans"
    programs = [start(some_worker(tmp_path, name)) for name in ("a", "b")]
    programs.append(start(beat(tmp_path)))
    ids = many(200, SPAN, args={"path": str(log), "seconds": 0.2})
    eventually(lambda: states(ids)["succeeded"] >= 8, "work is under way")
    hold = place("queue:messages")
    eventually(lambda: states(ids)["running"] == 0, "what runs finishes")
    # Rung ones reach the workers still: each is refused, and the rest is marked by the scheduler.
    waiting = (Job.state == JobState.QUEUED, Job.task != EVERY_MINUTE)
    eventually(lambda: {row.held_by for row in jobs(*waiting)} == {str(hold.id)}, timeout=30)
    assert last_start() - hold.created_at < timedelta(seconds=2)
    workers = {(row.worker or "").partition("@")[0] for row in jobs(Job.worker.is_not(None))}
    assert workers == {"a", "b"}
    done = states(ids)["succeeded"]

    for program in programs:
        program.kill()
        start(program)
    start(some_worker(tmp_path, "later"))
    late = new(SPAN, args={"path": str(log)})
    time.sleep(2.0)  # ticks of the scheduler, and turns of every worker
    assert (states(ids), states([late])) == ({"succeeded": done, "queued": 200 - done}, {"queued": 1})
    assert last_start() - hold.created_at < timedelta(seconds=2)

    db.retrying(holds.release, hold.id, actor="bob")
    eventually(lambda: states([*ids, late]) == {"succeeded": 201}, "all run", 60)
    assert sorted(lines(log)) == ["+x"] * 201 + ["-x"] * 201
    assert {(row.claim_no, row.attempt, row.crashes) for row in jobs(Job.task != EVERY_MINUTE)} == {(1, 0, 0)}


def test_a_campaign_is_held_and_its_neighbours_go_on_until_the_hold_expires_by_itself(
    start: Start, tmp_path: Path
) -> None:
    start(some_worker(tmp_path, "a"))
    start(beat(tmp_path))
    hold = place("campaign:1", expires_at=datetime.now(UTC) + timedelta(seconds=3))
    held = many(20, scopes=["campaign:1"])
    free = many(20, scopes=["campaign:2"])
    eventually(lambda: states(free) == {"succeeded": 20})
    eventually(lambda: states(held) == {"succeeded": 20}, "all run once it is over", 30)
    assert hold.expires_at is not None
    assert min(row.started_at for row in jobs(Job.id.in_(held)) if row.started_at) >= hold.expires_at


@pytest.mark.parametrize("scope", ["all", "task:messages.test_note"])
def test_a_worker_under_a_hold_still_takes_nothing_after_its_queue_was_rung_full(
    start: Start, tmp_path: Path, scope: str
) -> None:
    """They were rung before the hold: a worker that starts now drains the broker and runs none of them."""
    ids = many(ring.BACKLOG)
    hold = place(scope)
    start(some_worker(tmp_path, "a"))
    eventually(lambda: {row.held_by for row in jobs()} == {str(hold.id)}, "all are refused", 30)
    assert states(ids) == {"queued": ring.BACKLOG}
    db.retrying(holds.release, hold.id, actor="bob")
    start(beat(tmp_path))
    eventually(lambda: states(ids) == {"succeeded": ring.BACKLOG}, "all run", 60)
