"""Caps over the whole cluster: how many jobs of a queue run at once, and how many start per second."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from crm_tasks.config import settings
from crm_tasks.core import sweep
from crm_tasks.core.jobs.claim import claim
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.queues import Queue
from tests.core.conftest import Start
from tests.core.ledger import execute, in_threads, job, lines, many, new, rung, states, unrung, until
from tests.harness import beat, eventually, worker

SPAN = "messages.test_span"


@pytest.fixture
def capped(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let this process see a cap, as a worker does that was started with QUEUE_MESSAGES_CONCURRENCY."""

    def cap(most: int) -> None:
        policy = settings().queues[Queue.MESSAGES]
        monkeypatch.setitem(settings().queues, Queue.MESSAGES, replace(policy, concurrency=most))

    return cap


def test_two_workers_together_never_run_more_than_the_cap(start: Start, tmp_path: Path) -> None:
    for name in ("a", "b"):
        start(worker(tmp_path, "messages", include="tests.tasks", name=name, QUEUE_MESSAGES_CONCURRENCY="2"))
    log = tmp_path / "spans"
    # No scheduler: whoever ends brings the next one in.
    many(14, SPAN, args={"path": str(log), "seconds": 0.1})
    eventually(lambda: states() == {"succeeded": 14}, "all have run")
    at_once, most = 0, 0
    for line in lines(log):
        at_once += 1 if line.startswith("+") else -1
        most = max(most, at_once)
    assert (most, at_once) == (2, 0)
    assert {row.rpartition(":")[0] for (row,) in execute("SELECT worker FROM jobs")} == {"a@test", "b@test"}


def test_many_claims_at_one_instant_do_not_break_the_cap(empty: None, capped: Callable[[int], None]) -> None:
    capped(3)
    ids = many(12)
    taken = in_threads(*[lambda i=i: claim(i, queue="messages", worker="w") for i in ids])
    assert sum(each is not None for each in taken) == 3
    assert states() == {"running": 3, "queued": 9}
    # The refused ones are the scheduler's again, and it rings none of them while the cap is reached.
    assert {job(i).rung_at for i in ids if job(i).state is JobState.QUEUED} == {None}
    before = rung()
    sweep.ring_due(Queue.MESSAGES)
    assert rung() == before


def test_the_scheduler_rings_no_more_than_the_cap_has_room_for(empty: None, capped: Callable[[int], None]) -> None:
    ids = unrung(5)
    capped(2)
    sweep.ring_due(Queue.MESSAGES)
    assert rung() == [str(i) for i in ids[:2]]
    sweep.ring_due(Queue.MESSAGES)
    assert len(rung()) == 2


def test_a_cap_binds_one_queue_only(start: Start, tmp_path: Path) -> None:
    env = {"QUEUE_MESSAGES_CONCURRENCY": "1"}
    start(worker(tmp_path, "messages", "notifications", include="tests.tasks", **env))
    blocker = new("messages.test_nap", args={"seconds": 30})
    until(blocker, JobState.RUNNING)
    second = new()
    until(new("notifications.test_nap", args={"seconds": 0}), JobState.SUCCEEDED)
    assert job(second).state is JobState.QUEUED


def test_a_rate_is_kept_over_two_workers_and_is_reached(start: Start, tmp_path: Path) -> None:
    env = {"QUEUE_MESSAGES_RATE": "20/s"}
    for name in ("a", "b"):
        start(worker(tmp_path, "messages", include="tests.tasks", name=name, **env))
    start(beat(tmp_path, **env))
    log = tmp_path / "stamps"
    began = time.time()
    many(40, "messages.test_stamp", args={"path": str(log)})
    eventually(lambda: len(lines(log)) == 40, "all have run", 30)
    # 39 steps after the first; a stamp may be late, never early.
    assert max(map(float, lines(log))) - began > 39 / 20
    # And without polling: a job comes back about once, at its moment, not again and again.
    claims, attempts = execute("SELECT max(claim_no), max(attempt) FROM jobs")[0]
    assert (claims <= 4, attempts) == (True, 0)


def test_a_rate_of_a_task_binds_that_task_over_all_workers_and_no_other(start: Start, tmp_path: Path) -> None:
    env = {"TASK_RATES": "messages.test_stamp=5/s, notifications.test_nap=1/d"}
    for name in ("a", "b"):
        start(worker(tmp_path, "messages", include="tests.tasks", name=name, **env))
    start(beat(tmp_path, **env))
    log, other = tmp_path / "stamps", tmp_path / "notes"
    began = time.time()
    many(11, "messages.test_stamp", args={"path": str(log)})
    many(11, "messages.test_note", args={"path": str(other), "text": "x"})
    eventually(lambda: len(lines(log)) == len(lines(other)) == 11, "all have run", 30)
    # Ten steps after the first; a stamp may be late, never early.
    assert max(map(float, lines(log))) - began > 10 / 5
    waited = "SELECT count(*) FROM jobs WHERE task = 'messages.test_note' AND claim_no > 1"
    assert execute(waited) == [(0,)]
    assert execute("SELECT max(attempt) FROM jobs") == [(0,)]
