"""Domain rows are locked first and jobs last: so two doors that touch both never wait for each other in a circle."""

import threading
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from crm_tasks.core import db, sweep
from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.core.jobs import repair
from crm_tasks.core.task import give_back
from tests.core.ledger import execute, in_threads, job, new, take, update, waits_for_a_lock
from tests.harness import eventually


def fail(job_id: uuid.UUID) -> None:
    give_back(take(job_id), Transient("it broke"))


def cancel(job_id: uuid.UUID) -> None:
    with db.transaction() as session:
        repair.cancel(session, job_id, actor="test")


def poison(job_id: uuid.UUID) -> None:
    take(job_id)
    update([job_id], "lease_until = now() - interval '1 s', crashes = 4")
    sweep.expire_leases()


def retry(job_id: uuid.UUID) -> None:
    with db.transaction() as session:
        repair.retry(session, job_id, actor="test")


def discard(job_id: uuid.UUID) -> None:
    with db.transaction() as session:
        repair.discard(session, job_id, actor="test", reason="never")


@pytest.mark.parametrize(
    ("move", "dead_before", "after"),
    [
        (fail, False, "queued"),
        (cancel, False, "cancelled"),
        (poison, False, "dead"),
        (retry, True, "queued"),
        (discard, True, "cancelled"),
    ],
)
def test_whoever_moves_a_job_waits_for_its_domain_row_with_the_job_unlocked(
    rows: None, move: Callable[[uuid.UUID], None], dead_before: bool, after: str
) -> None:
    job_id = new("messages.test_followed", args={"row": 1}, max_attempts=5)
    if dead_before:
        give_back(take(job_id), Permanent("no"))
    moving = threading.Thread(target=move, args=(job_id,))
    with db.transaction() as session:
        session.execute(sa.text("UPDATE test_rows SET state = 'mine'"))
        moving.start()
        eventually(waits_for_a_lock, "it waits for the domain row")
        # Now the job is ours to take, as for everybody who came with the domain row first.
        session.execute(sa.text("SELECT FROM jobs WHERE id = :id FOR UPDATE NOWAIT"), {"id": job_id})
    moving.join(10)
    assert not moving.is_alive()
    assert execute("SELECT state FROM test_rows") == [(after,)]
    assert job(job_id).state == after


def test_a_claim_takes_its_job_and_nothing_else_into_its_transaction(empty: None) -> None:
    """Commits alone: whoever enqueues with its unique_key never waits for the work of its holder."""
    job_id = new(unique_key="k")
    take(job_id)
    assert execute("SELECT count(*) FROM pg_locks WHERE transactionid IS NOT NULL AND pid <> pg_backend_pid()") == [
        (0,)
    ]
    assert new(unique_key="k") != job_id


def test_a_deadlock_between_doors_is_run_again_and_both_get_through(rows: None) -> None:
    """Where it happens all the same: Postgres ends one of the two, and `retrying` runs that again as a whole."""
    execute("INSERT INTO test_rows VALUES (2, 'new')")
    meet = threading.Barrier(2)
    tries: list[int] = []

    def both(first: int, second: int) -> None:
        def act(session) -> None:
            tries.append(first)
            session.execute(sa.text("UPDATE test_rows SET state = 'x' WHERE id = :id"), {"id": first})
            if len(tries) <= 2:
                meet.wait(10)
            session.execute(sa.text("UPDATE test_rows SET state = :by WHERE id = :id"), {"id": second, "by": first})

        db.retrying(act)

    assert in_threads(lambda: both(1, 2), lambda: both(2, 1)) == [None, None]
    assert len(tries) == 3
