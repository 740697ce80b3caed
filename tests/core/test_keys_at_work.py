"""Keys at work: `unique_key` and `serial_key` under a worker with eight threads."""

import itertools
from pathlib import Path

import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs.enqueue import NewJob, enqueue, enqueue_many
from crm_tasks.core.jobs.model import JobState
from tests.core.ledger import execute, in_threads, job, jobs, lines, many, new, states, until
from tests.harness import Program, eventually

SPAN = "messages.test_span"


def test_a_job_that_comes_back_to_the_queue_stands_beside_its_twin(empty: None, threads: Program) -> None:
    first = new("messages.test_fail", args={"kind": "transient"}, unique_key="k")
    eventually(lambda: job(first).attempt == 1)
    second = new("messages.test_fail", args={"kind": "transient"}, unique_key="k")
    eventually(lambda: job(second).attempt == 1)
    assert second != first
    assert states() == {"queued": 2}


def test_with_many_at_once_nothing_that_was_asked_for_is_lost(inbox: None, threads: Program) -> None:
    numbers = itertools.count()

    def produce() -> None:
        for _ in range(40):
            with db.transaction() as session:
                session.execute(sa.text("INSERT INTO test_inbox VALUES (:id)"), {"id": next(numbers)})
                enqueue(session, "messages.test_drain", args={}, unique_key="inbox")

    assert in_threads(*[produce] * 5) == [None] * 5
    eventually(lambda: set(states()) == {"succeeded"}, "all jobs are done", 30)
    assert execute("SELECT count(*), count(*) FILTER (WHERE seen) FROM test_inbox") == [(200, 200)]
    assert 1 < len(jobs()) <= 200
    assert sum(row.result for row in jobs()) >= 200


def test_jobs_with_one_serial_key_run_one_at_a_time_in_the_order_of_the_call(
    empty: None, threads: Program, tmp_path: Path
) -> None:
    log = tmp_path / "spans"
    with db.transaction() as session:
        enqueue_many(
            session,
            [
                NewJob(task=SPAN, args={"path": str(log), "seconds": 0.002, "text": str(n)}, serial_key="s")
                for n in range(20)
            ],
        )
    eventually(lambda: len(lines(log)) == 40, "all twenty have run", 30)
    assert lines(log) == [f"{sign}{number}" for number in range(20) for sign in "+-"]
    assert all(row.attempt == row.crashes == 0 for row in jobs())


def test_jobs_enqueued_one_by_one_keep_their_order_too(empty: None, threads: Program, tmp_path: Path) -> None:
    log = tmp_path / "spans"
    ids = [new(SPAN, args={"path": str(log), "text": str(n)}, serial_key="s") for n in range(20)]
    until(ids[-1], JobState.SUCCEEDED, 30)
    assert lines(log) == [f"{sign}{number}" for number in range(20) for sign in "+-"]


def test_other_serial_keys_and_none_are_not_in_the_way(empty: None, threads: Program, tmp_path: Path) -> None:
    blocker = new("messages.test_nap", args={"seconds": 20, "path": str(tmp_path / "naps")}, serial_key="s")
    until(blocker, JobState.RUNNING)
    waiting = new(SPAN, args={"path": str(tmp_path / "same")}, serial_key="s")
    others = [*many(2, serial_key="t"), *many(2)]
    eventually(lambda: states(others) == {"succeeded": 4})
    assert job(waiting).state is JobState.QUEUED
    assert lines(tmp_path / "same") == []


def test_one_that_fails_lets_the_next_of_its_key_go(empty: None, threads: Program, tmp_path: Path) -> None:
    log = tmp_path / "spans"
    with db.transaction() as session:
        _, second = (
            enqueue(session, task, args=args, serial_key="s")
            for task, args in (("messages.test_fail", {"kind": "permanent"}), (SPAN, {"path": str(log)}))
        )
    assert until(second, JobState.SUCCEEDED)
    assert lines(log) == ["+x", "-x"]
