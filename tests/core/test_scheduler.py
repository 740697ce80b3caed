"""The scheduler's turns: nothing that fails ends it, lost rings ring again, an outage of Postgres costs no lease."""

import time
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from crm_tasks.config import settings
from crm_tasks.core import db, overview, scheduler, sweep
from crm_tasks.core.jobs import claim as claims
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager
from crm_tasks.core.scheduler import Chore, LedgerScheduler
from tests.core.ledger import execute, job, new, ring_now, rung, stopped, take, unrung, update, valkey_pid
from tests.harness import eventually

LEASE = 45.0


@pytest.fixture
def made(empty: None, monkeypatch: pytest.MonkeyPatch) -> LedgerScheduler:
    """A scheduler that is no process of its own."""
    from crm_tasks.celery import app

    monkeypatch.setattr(scheduler.pulse, "start", lambda *_: None)
    return LedgerScheduler(app=app, lazy=True)


def chore(of: LedgerScheduler, name: str) -> Chore:
    return next(each for each in of._chores if each.name == name)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set what the scheduler takes for the time of this process."""

    def set_time(seconds: float) -> None:
        monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: seconds))

    return set_time


def expired(of: LedgerScheduler, job_id: uuid.UUID) -> bool:
    of._do(chore(of, "leases"))
    return job(job_id).state is not JobState.RUNNING


@pytest.fixture
def long_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server have run for ever: the tests' own has just been started."""
    monkeypatch.setattr(sweep, "postgres_settled", lambda _session: True)


# --- a turn ------------------------------------------------------------------------------------------------------


def test_a_turn_does_every_chore_and_leaves_a_mark(made: LedgerScheduler) -> None:
    [due] = unrung()
    assert made.tick() > 0
    assert rung() == [str(due)]
    with db.transaction() as session:
        age = overview.scheduler_age(session)
    assert age is not None and age < 60


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), psycopg.OperationalError("gone"), KeyError("x")])
def test_a_chore_that_fails_ends_nothing_and_comes_again_a_second_later(
    made: LedgerScheduler, at: Callable[[float], None], error: Exception
) -> None:
    tried: list[int] = []

    def fail() -> None:
        tried.append(1)
        raise error

    failing = chore(made, "calendar")
    failing.act, failing.every = fail, 0.0
    [due] = unrung()
    for moment, tries in ((1_000.0, 1), (1_000.9, 1), (1_001.1, 2)):
        at(moment)
        assert made.tick() > 0
        assert (rung(), len(tried)) == ([str(due)], tries)


def test_without_a_broker_a_turn_is_short_and_marks_nothing_as_rung(made: LedgerScheduler) -> None:
    [due] = unrung()
    assert manager().ping("broker")
    with stopped(valkey_pid()):
        made.tick()
        assert job(due).rung_at is None
    assert eventually(lambda: manager().ping("broker"))
    eventually(lambda: made.tick() and rung() == [str(due)])


# --- lost rings --------------------------------------------------------------------------------------------------


def lost(*ids: uuid.UUID, seconds: float) -> int:
    update(ids, f"rung_at = now() - interval '{seconds} s'")
    return sweep.ring_lost(Queue.MESSAGES)


def test_a_ring_that_the_broker_has_is_never_lost_however_long_it_waits(empty: None) -> None:
    ids = [new(priority=priority) for priority in (1, 5, 7, 10)]
    before = rung()
    assert len(before) == 4
    assert lost(*ids, seconds=86_400) == 0
    assert rung() == before


def test_a_ring_that_the_broker_forgot_is_rung_again_at_growing_intervals(empty: None) -> None:
    job_id = new()
    assert rung()
    for rings, wait in enumerate((5, 10, 20, 40)):
        manager().client("broker").flushall()
        assert lost(job_id, seconds=wait - 1) == 0
        assert lost(job_id, seconds=wait + 1) == 1
        assert (rung(), job(job_id).rings) == ([str(job_id)], rings + 1)


def test_a_lost_ring_is_missed_as_soon_however_often_the_job_was_heard_and_put_off_before(empty: None) -> None:
    job_id = new()
    for _ in range(7):
        with db.transaction() as session:
            claims.leave(session, take(job_id), claims.Leave(JobState.QUEUED))
        ring_now(job_id)
    manager().client("broker").flushall()
    assert lost(job_id, seconds=11) == 1
    assert rung() == [str(job_id)]


def test_what_is_held_delayed_or_over_is_not_taken_for_lost(empty: None) -> None:
    from crm_tasks.core import holds

    delayed, running = new(), new()
    take(running)
    update([delayed], "run_at = now() + interval '1 h'")
    db.retrying(holds.place, "channel:1", reason="testing", actor="ann")
    held = new(scopes=["channel:1"])
    manager().client("broker").flushall()
    assert lost(delayed, running, seconds=999) == 0
    assert sweep.ring_lost(Queue.MESSAGES) == 0
    assert (job(held).rings, rung()) == (0, [])


def test_a_broker_that_fails_while_it_is_rung_leaves_the_job_unrung(
    empty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    [due] = unrung()

    def fail(*_: Any) -> int:
        # Marked and committed before anybody is rung: a worker that is quick must find it so.
        assert execute("SELECT rung_at IS NOT NULL FROM jobs") == [(True,)]
        raise OSError("the broker is gone")

    monkeypatch.setattr(sweep.ring, "publish", fail)
    with pytest.raises(OSError):
        sweep.ring_due(Queue.MESSAGES)
    assert job(due).rung_at is None


# --- leases and outages ------------------------------------------------------------------------------------------


def over(job_id: uuid.UUID) -> uuid.UUID:
    take(job_id)
    update([job_id], "lease_until = now() - interval '1 h'")
    return job_id


def test_no_lease_expires_before_the_scheduler_has_had_postgres_for_a_whole_lease(
    made: LedgerScheduler, at: Callable[[float], None], long_up: None
) -> None:
    assert settings().lease.total_seconds() == LEASE
    job_id = over(new())
    at(1_000.0)
    made._do(chore(made, "tick"))
    assert not expired(made, job_id)
    at(1_000.0 + LEASE - 1)
    assert not expired(made, job_id)
    at(1_000.0 + LEASE + 1)
    assert expired(made, job_id)


@pytest.mark.parametrize("which", ["tick", "ring", "leases"])
def test_an_outage_begins_the_wait_anew(
    made: LedgerScheduler, at: Callable[[float], None], long_up: None, which: str
) -> None:
    job_id = over(new())
    at(1_000.0)
    made._do(chore(made, "tick"))
    at(1_000.0 + LEASE - 1)

    def gone() -> None:
        raise psycopg.OperationalError("the connection is closed")

    broken = Chore(which, 0.0, gone)
    made._do(broken)
    at(1_000.0 + LEASE + 1)
    assert not expired(made, job_id)
    made._do(chore(made, "tick"))
    at(1_000.0 + 2 * LEASE)
    assert not expired(made, job_id)
    at(1_000.0 + 2 * LEASE + 2)
    assert expired(made, job_id)


def test_a_mistake_of_ours_is_no_outage(made: LedgerScheduler, at: Callable[[float], None], long_up: None) -> None:
    job_id = over(new())
    at(1_000.0)
    made._do(chore(made, "tick"))

    def mistaken() -> None:
        raise RuntimeError("a mistake")

    made._do(Chore("calendar", 0.0, mistaken))
    at(1_000.0 + LEASE + 1)
    assert expired(made, job_id)


def test_a_scheduler_that_stood_still_waits_as_after_an_outage(
    made: LedgerScheduler, at: Callable[[float], None], long_up: None
) -> None:
    """Whatever held it up (SIGSTOP, a full disk) may have held the workers' renewals up too."""
    job_id = over(new())
    at(1_000.0)
    made._do(chore(made, "tick"))
    made._do(Chore("ring", 0.0, lambda: at(1_000.0 + LEASE / 4 + 1)))
    at(1_000.0 + LEASE * 3)
    assert not expired(made, job_id)


def test_postgres_has_to_have_run_for_a_whole_lease(
    made: LedgerScheduler, at: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = over(new())
    made._postgres_since = time.monotonic() - 2 * LEASE
    for ago, gone in (("40 s", False), ("50 s", True)):
        since = db.sa.text(f"SELECT interval '{ago}' > :lease")
        monkeypatch.setattr(sweep, "POSTGRES_UP_FOR", since)
        assert expired(made, job_id) is gone
