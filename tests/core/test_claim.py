"""Claim, finish, leave: the fence and the three counters, one statement at a time."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from crm_tasks.core import db, sweep
from crm_tasks.core.errors import LeaseLost, Permanent, Snooze, Transient
from crm_tasks.core.jobs import claim as claims
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.claim import Claim, claim, current, finish
from crm_tasks.core.jobs.model import MAX_ERRORS, JobState
from crm_tasks.core.task import finishing, give_back, record
from tests.core.ledger import FAIL, counted, execute, in_threads, job, new, states, take, update


def take_back(job_id: uuid.UUID) -> None:
    """Let the lease of a job run out and the scheduler see it."""
    update([job_id], "lease_until = now() - interval '1 s'")
    assert sweep.expire_leases() == 1
    update([job_id], "run_at = crm_now()")


def finished(taken: Claim, result: object = None) -> bool:
    with db.transaction() as session:
        return finish(session, taken, result)


def test_of_many_who_ring_at_once_one_gets_the_job(empty: None) -> None:
    job_id = new()
    answers = in_threads(*[lambda: claim(job_id, queue="messages", worker="w")] * 8)
    assert sum(answer is not None for answer in answers) == 1
    assert (job(job_id).claim_no, job(job_id).state) == (1, JobState.RUNNING)


def test_a_second_ring_finds_nothing_and_changes_nothing(empty: None) -> None:
    job_id = new()
    taken = take(job_id)
    empty_rings = counted("rings_empty")
    assert claim(job_id, queue="messages", worker="other") is None
    assert counted("rings_empty") == empty_rings + 1
    assert (job(job_id).worker, job(job_id).claim_no) == ("a worker", 1)
    assert finished(taken)
    assert claim(job_id, queue="messages", worker="other") is None
    assert job(job_id).state is JobState.SUCCEEDED


def test_a_ring_that_comes_too_early_leaves_the_job_to_the_scheduler(empty: None) -> None:
    job_id = new(run_at=datetime(2100, 1, 1, tzinfo=UTC))
    update([job_id], "rung_at = now()")
    assert claim(job_id, queue="messages", worker="w") is None
    assert (job(job_id).state, job(job_id).rung_at, job(job_id).claim_no) == (JobState.QUEUED, None, 0)


def test_a_claim_that_comes_back_from_the_dead_is_fenced_though_its_attempt_is_the_same(empty: None) -> None:
    """X stalls and loses its lease, Y snoozes, Z runs: X and Z are both at attempt 1, and only Z may finish."""
    job_id = new()
    x = take(job_id, "x")
    take_back(job_id)
    y = take(job_id, "y")
    assert give_back(y, Snooze(timedelta(0))) is JobState.QUEUED
    z = take(job_id, "z")
    assert (x.attempt, y.attempt, z.attempt) == (0, 0, 0)
    assert (x.claim_no, y.claim_no, z.claim_no) == (1, 2, 3)
    fenced = counted("outcomes_fenced")
    assert not finished(x, {"of": "x"})
    assert give_back(x, Permanent("x is wrong")) is None
    assert not finished(y)
    assert (job(job_id).state, job(job_id).errors[1:]) == (JobState.RUNNING, [])
    assert counted("outcomes_fenced") == fenced + 3
    assert finished(z, {"of": "z"})
    assert job(job_id).result == {"of": "z"}


def test_claim_numbers_never_go_down_not_even_when_a_person_retries(empty: None) -> None:
    job_id = new(max_attempts=1)
    x = take(job_id)
    assert give_back(x, Transient("no")) is JobState.DEAD
    with db.transaction() as session:
        repair.retry(session, job_id, actor="test")
    y = take(job_id)
    assert (y.claim_no, y.attempt) == (2, 0)
    assert not finished(x)
    assert finished(y)


def test_failures_crashes_and_claims_are_counted_apart(empty: None) -> None:
    job_id = new(max_attempts=5)
    counters = []
    for step in ("fail", "crash", "snooze", "crash", "fail"):
        update([job_id], "run_at = crm_now()")
        taken = take(job_id)
        if step == "crash":
            take_back(job_id)
        else:
            give_back(taken, Transient("no") if step == "fail" else Snooze(timedelta(0)))
        row = job(job_id)
        counters.append((row.claim_no, row.attempt, row.crashes))
    assert counters == [(1, 1, 0), (2, 1, 1), (3, 1, 1), (4, 1, 2), (5, 2, 2)]


def test_facts_of_a_lost_claim_are_kept_though_its_transition_is_not(empty: None) -> None:
    execute("CREATE TABLE test_facts (wamid text)")
    try:
        job_id = new()
        x = take(job_id, "x")
        take_back(job_id)
        z = take(job_id, "z")
        token = current.set(x)
        try:
            fenced = counted("outcomes_fenced")
            record(lambda session: session.execute(sa.text("INSERT INTO test_facts VALUES ('wamid.1')")), {"of": "x"})
        finally:
            current.reset(token)
        assert execute("SELECT wamid FROM test_facts") == [("wamid.1",)]
        assert (job(job_id).state, job(job_id).claim_no, job(job_id).result) == (JobState.RUNNING, z.claim_no, None)
        assert counted("outcomes_fenced") == fenced + 1
        assert x.lost and not x.finished
    finally:
        execute("DROP TABLE test_facts")


def test_what_a_lost_claim_would_newly_begin_is_rolled_back(empty: None) -> None:
    from crm_tasks.core.jobs.enqueue import enqueue

    job_id = new()
    x = take(job_id)
    take_back(job_id)
    token = current.set(x)
    try:
        with pytest.raises(LeaseLost), finishing() as session:
            enqueue(session, FAIL, args={})
    finally:
        current.reset(token)
    assert states() == {"queued": 1}


def test_a_fact_and_the_end_of_its_job_are_one_transaction(empty: None) -> None:
    """The fact cannot be written: then the job has not ended either."""
    job_id = new()
    taken = take(job_id)
    token = current.set(taken)
    try:
        with pytest.raises(sa.exc.ProgrammingError):
            record(lambda session: session.execute(sa.text("INSERT INTO nowhere VALUES (1)")))
        with pytest.raises(ZeroDivisionError), finishing():
            raise ZeroDivisionError
    finally:
        current.reset(token)
    assert (job(job_id).state, taken.finished) == (JobState.RUNNING, False)


def test_a_job_cancelled_while_it_runs_stays_cancelled(empty: None) -> None:
    job_id = new()
    taken = take(job_id)
    with db.transaction() as session:
        repair.cancel(session, job_id, actor="ann", reason="not needed")
    assert not finished(taken)
    assert give_back(taken, Transient("no")) is None
    claims.show_progress(taken, {"done": 1})
    assert taken.lost
    row = job(job_id)
    assert (row.state, row.reason, row.attempt, row.lease_until) == (
        JobState.CANCELLED,
        "not needed (by ann)",
        0,
        None,
    )


def test_a_claim_that_is_lost_stays_lost_whatever_is_shown_of_it(empty: None) -> None:
    taken = take(new())
    taken.lost = True
    claims.show_progress(taken, {"done": 1})
    assert taken.lost


def test_a_claim_knows_how_long_its_lease_surely_lasts(empty: None) -> None:
    taken = take(new())
    assert taken.holds_for(30) and not taken.holds_for(46)
    taken.lost = True
    assert not taken.holds_for(0)


def test_only_the_last_twenty_errors_are_kept(empty: None) -> None:
    job_id = new(max_attempts=100)
    for number in range(MAX_ERRORS + 5):
        update([job_id], "run_at = crm_now()")
        give_back(take(job_id), Transient(f"failure {number}"))
    row = job(job_id)
    assert [error["message"] for error in row.errors] == [f"failure {n}" for n in range(5, MAX_ERRORS + 5)]
    assert (row.attempt, row.errors[-1]["attempt"]) == (MAX_ERRORS + 5, MAX_ERRORS + 5)


def test_crashes_too_keep_only_the_last_twenty_errors(empty: None) -> None:
    job_id = new(max_attempts=100)
    for number in range(MAX_ERRORS):
        update([job_id], "run_at = crm_now()")
        give_back(take(job_id), Transient(f"failure {number}"))
    update([job_id], "run_at = crm_now()")
    take(job_id)
    take_back(job_id)
    assert len(job(job_id).errors) == MAX_ERRORS
    assert job(job_id).errors[-1]["code"] == "lost_lease"


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ({"a": 1}, {"a": 1}),
        (None, None),
        ("x" * 5_000, {"left_out": "5002 characters"}),
        ({1: "x", "u": uuid.UUID(int=7)}, {"1": "x", "u": str(uuid.UUID(int=7))}),
        ("nul \x00 and half \ud83d", "nul \ufffd and half ?"),
        ({"n": 2**70}, {"n": str(2**70)}),
    ],
)
def test_whatever_a_task_returns_its_success_can_be_written(empty: None, result: object, kept: object) -> None:
    job_id = new()
    assert finished(take(job_id), result)
    assert job(job_id).result == kept


def test_progress_can_be_shown_in_any_words(empty: None) -> None:
    job_id = new()
    claims.show_progress(take(job_id), {"done": 1, "note": "nul \x00 and half \ud83d"})
    assert job(job_id).progress == {"done": 1, "note": "nul \ufffd and half ?"}


def test_an_error_can_be_written_in_any_words(empty: None) -> None:
    job_id = new(max_attempts=1)
    assert give_back(take(job_id), Transient("nul \x00 and half \ud83d", code="c\x00")) is JobState.DEAD
    assert job(job_id).errors[0]["message"] == "nul \ufffd and half ?"


def test_a_claim_waits_for_a_free_connection_and_does_not_drop_its_ring(empty: None) -> None:
    """A pool that is used up for longer than its patience is no reason to lose a ring."""
    job_id = new()
    db.configure(pool_size=1, pool_timeout=0.2)
    answers: list[Claim | None] = []
    waiting = threading.Thread(target=lambda: answers.append(claim(job_id, queue="messages", worker="w")))
    try:
        with db.autocommit() as connection:
            waiting.start()
            waiting.join(1.0)
            assert waiting.is_alive() and answers == []
            assert connection.execute("SELECT 1").fetchone() == (1,)
        waiting.join(10)
        assert answers and answers[0] is not None
    finally:
        db._options.clear()
        db.dispose()
