"""What the scheduler does with the jobs of workers that went away, one decision at a time."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from crm_tasks.core import db, sweep
from crm_tasks.core.errors import Transient
from crm_tasks.core.jobs.claim import acting_for
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.task import advanced, give_back
from tests.core.ledger import counted, execute, job, new, take, update, waits_for_a_lock
from tests.harness import eventually

IMPORT = "imports.test_nap"


def crash(job_id: uuid.UUID, worker: str = "a worker") -> None:
    """Claim a job and let its worker vanish."""
    update([job_id], "run_at = crm_now()")
    take(job_id, worker)
    update([job_id], "lease_until = now() - interval '1 s'")
    assert sweep.expire_leases() == 1


def test_a_job_whose_worker_vanished_comes_back_with_a_crash_and_all_its_attempts(empty: None) -> None:
    job_id = new()
    expired = counted("leases_expired")
    crash(job_id)
    row = job(job_id)
    assert (row.state, row.crashes, row.attempt, row.rung_at) == (JobState.QUEUED, 1, 0, None)
    assert (row.errors[0]["code"], row.errors[0]["worker"], row.fingerprint) == ("lost_lease", "a worker", None)
    assert counted("leases_expired") == expired + 1


def test_a_lease_that_still_runs_is_left_alone(empty: None) -> None:
    job_id = new()
    take(job_id)
    assert sweep.expire_leases() == 0
    assert job(job_id).state is JobState.RUNNING


def test_a_lease_renewed_at_the_last_moment_is_left_alone(empty: None) -> None:
    """The scheduler has read that the lease is over, and the renewal commits before it can act on that."""
    job_id = new()
    take(job_id)
    update([job_id], "lease_until = now() - interval '1 s'")
    taken: list[int] = []
    sweeping = threading.Thread(target=lambda: taken.append(sweep.expire_leases()))
    with db.transaction() as session:
        session.execute(
            db.sa.text("UPDATE jobs SET lease_until = now() + interval '45 s' WHERE id = :id"), {"id": job_id}
        )
        sweeping.start()
        eventually(waits_for_a_lock, "the scheduler waits for the renewal")
    sweeping.join(10)
    assert taken == [0]
    assert (job(job_id).state, job(job_id).crashes) == (JobState.RUNNING, 0)


def test_what_a_worker_held_that_said_goodbye_is_no_crash_and_runs_at_once(empty: None) -> None:
    execute(
        "INSERT INTO processes (id, kind, name, host, pid, stopped_at) "
        "VALUES (gen_random_uuid(), 'worker', 'w@host:1', 'host', 1, now())"
    )
    job_id = new()
    crash(job_id, "w@host:1")
    row = job(job_id)
    assert (row.crashes, row.attempt, row.errors) == (0, 0, [])
    assert row.run_at <= datetime.now(UTC)


@pytest.mark.parametrize(("task", "crashes"), [("messages.test_nap", 5), (IMPORT, 3)])
def test_a_job_that_takes_its_workers_with_it_is_dead_as_poison(empty: None, task: str, crashes: int) -> None:
    """Five lost leases on threads, where neighbours share the fate of a process; three on prefork."""
    job_id = new(task, args={"seconds": 1})
    for _ in range(crashes - 1):
        crash(job_id)
        assert job(job_id).state is JobState.QUEUED
    crash(job_id)
    row = job(job_id)
    assert (row.state, row.crashes, row.attempt) == (JobState.DEAD, crashes, 0)
    assert row.errors[-1]["code"] == "poison"
    assert row.errors[-1]["message"] == f"poison: {crashes} workers died while they ran it"
    assert row.fingerprint


def test_crashes_do_not_use_attempts_up(empty: None) -> None:
    job_id = new(IMPORT, args={"seconds": 1})
    assert job(job_id).max_attempts == 1
    crash(job_id)
    crash(job_id)
    assert (job(job_id).state, job(job_id).attempt) == (JobState.QUEUED, 0)


def test_neighbours_of_a_crash_are_parted_the_further_the_more_it_happens(empty: None) -> None:
    job_id = new("messages.test_nap", args={"seconds": 1})
    for most in (2, 60, 120, 240):
        crash(job_id)
        wait = job(job_id).run_at - datetime.now(UTC)
        assert timedelta(seconds=-2) < wait <= timedelta(seconds=most)


def test_a_long_job_that_gets_on_is_no_poison_however_often_it_is_cut_off(empty: None) -> None:
    job_id = new()
    for _ in range(10):
        update([job_id], "run_at = crm_now()")
        with acting_for(take(job_id)):
            advanced()
        update([job_id], "lease_until = now() - interval '1 s'")
        assert sweep.expire_leases() == 1
    assert (job(job_id).state, job(job_id).crashes, job(job_id).claim_no) == (JobState.QUEUED, 1, 10)


def test_a_room_hears_of_poison_before_the_job_is_dead(rows: None) -> None:
    job_id = new("messages.test_followed", args={"row": 1})
    for _ in range(5):
        crash(job_id)
    assert job(job_id).state is JobState.DEAD
    assert execute("SELECT state FROM test_rows") == [("dead",)]


def test_one_job_whose_room_fails_keeps_no_other_from_coming_back(rows: None) -> None:
    """Else the jobs behind it would stay with their dead workers for ever."""
    broken = new("messages.test_followed", args={"row": 1, "broken": True})
    for _ in range(4):
        crash(broken)
    other = new()
    update([broken], "run_at = crm_now()")
    for job_id in (broken, other):
        take(job_id)
        update([job_id], "lease_until = now() - interval '1 s'")
    assert sweep.expire_leases() == 1
    assert (job(other).state, job(other).crashes) == (JobState.QUEUED, 1)
    assert job(broken).state is JobState.RUNNING  # visible to `crm prove` and in the log


def test_a_claim_that_ended_meanwhile_is_not_taken_back(empty: None) -> None:
    job_id = new()
    taken = take(job_id)
    update([job_id], "lease_until = now() - interval '1 s'")
    assert give_back(taken, Transient("late, but first")) is JobState.QUEUED
    assert sweep.expire_leases() == 0
    assert (job(job_id).crashes, job(job_id).attempt) == (0, 1)
