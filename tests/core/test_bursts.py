"""A great many jobs at once: few statements, a small broker, the most urgent first, and every job runs."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from crm_tasks.core import db, fair, sweep
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.enqueue import RING_AT_ONCE, NewJob, enqueue_many
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager
from crm_tasks.core.sweep import RUNG_AT_ONCE
from tests.core.conftest import Start
from tests.core.ledger import NOTE, execute, job, many, new, rung, states, until, update
from tests.harness import beat, eventually, worker

SIZE = 20_000


@pytest.mark.slow
def test_twenty_thousand_jobs_of_one_call_all_run_while_the_broker_stays_small(start: Start, tmp_path: Path) -> None:
    before = _inserts()
    with db.transaction() as session:
        ids = enqueue_many(session, [NewJob(task=NOTE, args={"path": "/dev/null"}) for _ in range(SIZE)])
    assert (_inserts() - before, len(set(ids))) == (SIZE / 5_000, SIZE)
    assert rung() == [str(job_id) for job_id in ids[:RING_AT_ONCE]]

    start(worker(tmp_path, "messages", include="tests.tasks"))
    start(beat(tmp_path))
    longest = 0

    def done() -> bool:
        nonlocal longest
        longest = max(longest, ring.broker_length("messages"))
        return states()["succeeded"] == SIZE

    eventually(done, "all have run", 120)
    assert longest <= RUNG_AT_ONCE
    assert execute("SELECT count(*) FROM jobs WHERE claim_no <> 1 AND task = :task", task=NOTE) == [(0,)]


def test_an_urgent_job_enqueued_last_is_the_next_to_start(start: Start, tmp_path: Path) -> None:
    start(worker(tmp_path, "messages", include="tests.tasks", concurrency=1))
    start(beat(tmp_path))
    busy = new("messages.test_nap", args={"seconds": 2.0}, priority=1)
    until(busy, JobState.RUNNING)
    waiting = many(1_000, args={"path": "/dev/null"}, priority=10)
    urgent = new(args={"path": "/dev/null"}, priority=1)
    assert job(urgent).state is JobState.QUEUED
    eventually(lambda: states([*waiting, urgent])["succeeded"] == 1_001, "all have run", 60)
    with db.transaction() as session:
        order = list(session.scalars(sa.select(Job.id).where(Job.id != busy).order_by(Job.started_at)))
    assert order[0] == urgent
    assert job(busy).finished_at <= job(urgent).started_at  # type: ignore[operator]


def test_an_urgent_job_overtakes_what_the_scheduler_has_not_rung_yet(empty: None) -> None:
    """Beyond what is rung at once, the order is the scheduler's, and urgent comes first there too."""
    waiting = many(RUNG_AT_ONCE + 500, priority=10)
    assert ring.flush(10)
    update(waiting, "rung_at = NULL")
    urgent = new(priority=1)
    assert ring.flush(10)
    update([urgent], "rung_at = NULL")
    manager().client("broker").flushall()
    sweep.ring_due(Queue.MESSAGES)
    assert rung()[0] == str(urgent)
    assert len(rung()) == fair.FIRST
    sweep.ring_due(Queue.MESSAGES, at_once=RUNG_AT_ONCE)  # as `crm ring` does
    assert len(rung()) == RUNG_AT_ONCE


def _inserts() -> int:
    """Return how often this process's statement that accepts jobs has run, by Postgres's count."""
    query = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%INTO jobs%jsonb_to_recordset%'"
    return int(execute(query)[0][0])
