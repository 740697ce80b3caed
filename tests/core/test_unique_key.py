"""`unique_key`: at most one queued job has it, and what was asked for after its holder began is never swallowed."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import db, holds
from crm_tasks.core.jobs.claim import finish
from crm_tasks.core.jobs.enqueue import NewJob, enqueue, enqueue_many
from crm_tasks.core.jobs.model import JobState
from tests.core.ledger import NOTE, execute, job, jobs, new, rung, states, take, waits_for_a_lock
from tests.harness import eventually

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def test_a_duplicate_is_answered_with_the_job_that_holds_the_key(empty: None) -> None:
    first = new(unique_key="k")
    assert new(unique_key="k") == first
    assert new(unique_key="other") != first
    assert len(jobs()) == 2
    assert rung().count(str(first)) == 1


def test_a_duplicate_takes_the_earlier_moment_and_the_better_priority(empty: None) -> None:
    first = new(unique_key="k", run_at=LATER, priority=7)
    assert new(unique_key="k", run_at=LATER + timedelta(days=1), priority=9) == first
    assert (job(first).run_at, job(first).priority) == (LATER, 7)
    assert new(unique_key="k", run_at=LATER - timedelta(days=1), priority=2) == first
    assert (job(first).run_at, job(first).priority, job(first).rung_at) == (LATER - timedelta(days=1), 2, None)
    assert rung() == []
    assert new(unique_key="k") == first
    assert job(first).run_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert rung() == [str(first)]


def test_a_later_duplicate_does_not_silence_a_job_that_is_rung(empty: None) -> None:
    first = new(unique_key="k")
    rung_at = job(first).rung_at
    assert new(unique_key="k", run_at=LATER) == first
    assert job(first).rung_at == rung_at is not None


def test_a_job_that_runs_does_not_hold_its_key(empty: None) -> None:
    first = new(unique_key="k")
    taken = take(first)
    assert (job(first).unique_key, job(first).key_was) == (None, "k")
    second = new(unique_key="k")
    assert second != first
    with db.transaction() as session:
        assert finish(session, taken)
    assert new(unique_key="k") == second


def test_duplicates_within_one_call_are_one_job_with_the_earliest_moment_and_best_priority(session: Session) -> None:
    def one(run_at: datetime | None, priority: int = 5, key: str | None = "k") -> NewJob:
        return NewJob(task=NOTE, args={"path": "x"}, run_at=run_at, priority=priority, unique_key=key)

    days = [LATER + timedelta(days=n) for n in range(3)]
    ids = enqueue_many(
        session, [one(days[2]), one(days[1], 3), one(None, 8, key=None), one(days[1] + LATER.resolution)]
    )
    assert len({*ids}) == 2 and ids[0] == ids[1] == ids[3]
    kept = job_in(session, ids[0])
    assert (kept.run_at, kept.priority) == (days[1], 3)
    assert enqueue_many(session, [one(days[2]), one(None), one(days[0])]) == [ids[0]] * 3
    session.expire_all()
    assert job_in(session, ids[0]).run_at < LATER


def test_a_duplicate_of_a_held_job_stays_held(empty: None) -> None:
    with db.transaction() as session:
        hold = holds.place(session, "queue:messages", reason="testing", actor="test")
    first = new(unique_key="k", run_at=LATER)
    assert new(unique_key="k") == first
    assert (job(first).held_by, job(first).rung_at) == (str(hold.id), None)
    assert rung() == []


def test_a_claim_waits_for_a_duplicate_that_is_not_committed_yet_and_sees_what_caused_it(inbox: None) -> None:
    """Swallowed by `DO NOTHING`, this input would be nobody's: the holder has not seen it, and no new job is made."""
    holder = new("messages.test_drain", unique_key="k")
    seen: list[int] = []

    def consume() -> None:
        take(holder)
        seen.append(execute("SELECT count(*) FROM test_inbox")[0][0])

    consumer = threading.Thread(target=consume)
    with db.transaction() as session:
        session.execute(sa.text("INSERT INTO test_inbox VALUES (1)"))
        assert enqueue(session, "messages.test_drain", args={}, unique_key="k") == holder
        consumer.start()
        eventually(waits_for_a_lock, "the claim waits")
        assert seen == []
    consumer.join(10)
    assert seen == [1]


def test_a_duplicate_that_waits_for_a_claim_becomes_a_job_of_its_own(empty: None) -> None:
    holder = new(unique_key="k")
    made: list[uuid.UUID] = []
    late = threading.Thread(target=lambda: made.append(new(unique_key="k")))
    with db.transaction() as session:
        session.execute(
            sa.text("UPDATE jobs SET state = 'running', unique_key = NULL, lease_until = now() WHERE id = :id"),
            {"id": holder},
        )
        late.start()
        eventually(waits_for_a_lock, "the second waits for the claim")
    late.join(10)
    assert made and made[0] != holder
    assert states() == {"running": 1, "queued": 1}


def job_in(session: Session, job_id: uuid.UUID):
    from crm_tasks.core.jobs.model import Job

    row = session.get_one(Job, job_id)
    assert row.state is JobState.QUEUED
    return row
