"""Time limits hold on threads too: the job goes back, its late outcome counts for nothing, a stuck worker ends."""

import time
from pathlib import Path

from crm_tasks.core.jobs.model import JobState
from tests.core.conftest import Start
from tests.core.ledger import NAP, counted_by, execute, job, lines, new, ring_now, said, states, until
from tests.harness import Program, eventually, worker

ONE_SECOND = {"QUEUE_MESSAGES_TIME_LIMIT": "1", "QUEUE_MESSAGES_BACKOFF": "0.1", "LEASE_RENEWAL": "1"}


def limited(log: Path, *queues: str, **options) -> Program:
    queues = queues or ("messages",)
    return worker(log, *queues, include="tests.tasks", **{**ONE_SECOND, **options})


def test_a_job_past_its_limit_goes_back_with_one_attempt_used_and_its_late_outcome_is_fenced(
    start: Start, tmp_path: Path
) -> None:
    start(limited(tmp_path))
    job_id = new(NAP, args={"seconds": 2.5})
    row = eventually(lambda: r if (r := job(job_id)).attempt == 1 else None)
    assert (row.state, row.claim_no, row.crashes, row.lease_until) == (JobState.QUEUED, 1, 0, None)
    assert [(e["class"], e["code"], e["message"]) for e in row.errors] == [
        ("TimeLimit", "time_limit", "ran longer than 1 s")
    ]
    eventually(lambda: counted_by("w@test", "outcomes_fenced") == 1, "the late outcome is counted")
    after = job(job_id)
    assert (after.state, after.attempt, after.result, len(after.errors)) == (JobState.QUEUED, 1, None, 1)


def test_a_job_that_comes_back_to_the_worker_where_it_is_stuck_has_a_limit_and_a_lease_again(
    start: Start, tmp_path: Path
) -> None:
    start(limited(tmp_path, concurrency=16))
    job_id = new(NAP, args={"seconds": 60}, max_attempts=2)
    eventually(lambda: job(job_id).attempt == 1)
    ring_now(job_id)
    eventually(lambda: job(job_id).claim_no == 2)
    row = until(job_id, JobState.DEAD)
    assert (row.attempt, row.crashes, [e["code"] for e in row.errors]) == (2, 0, ["time_limit"] * 2)
    eventually(lambda: counted_by("w@test", "jobs_dead") == 1)


def test_a_job_within_its_limit_but_beyond_its_lease_is_renewed(start: Start, tmp_path: Path) -> None:
    start(limited(tmp_path, QUEUE_MESSAGES_TIME_LIMIT="60"))
    job_id = new(NAP, args={"seconds": 30})
    first = until(job_id, JobState.RUNNING).lease_until
    eventually(lambda: (job(job_id).lease_until or first) > first, "the lease is renewed")  # type: ignore[operator]


def test_a_full_pool_costs_no_lease_while_a_job_is_past_its_limit(start: Start, tmp_path: Path) -> None:
    """What takes a job back needs a connection of the pool; the renewal of the others must not wait for that."""
    start(limited(tmp_path, "messages", "notifications", DATABASE_POOL_SIZE="1"))
    other = new("notifications.test_nap", args={"seconds": 60})
    first = until(other, JobState.RUNNING).lease_until
    holder = new("messages.test_hold_connection", args={"seconds": 40})
    began = until(holder, JobState.RUNNING).started_at
    assert first is not None and began is not None
    eventually(lambda: (job(other).lease_until - began).total_seconds() > 45 + 3, "renewed long after the limit", 15)


def test_a_worker_with_stuck_threads_takes_no_more_work_and_ends_to_be_started_again(
    start: Start, tmp_path: Path
) -> None:
    """One of four is a quarter; one of one is all there is."""
    four = start(limited(tmp_path, "messages", name="four", concurrency=4))
    one = start(limited(tmp_path, "notifications", name="one", concurrency=1, QUEUE_NOTIFICATIONS_TIME_LIMIT="1"))
    stuck = new("messages.test_nap_once", args={"seconds": 5, "path": str(tmp_path / "once")})
    new("notifications.test_nap", args={"seconds": 4})
    until(stuck, JobState.RUNNING)
    assert four.popen is not None and one.popen is not None
    waiting = [new()]
    while four.popen.poll() is None:
        waiting.append(new())
        time.sleep(0.05)
    assert (four.popen.returncode, one.popen.wait(20)) == (75, 75)
    assert [said(program.said(), "worker.stuck")[0]["of"] for program in (four, one)] == [4, 1]
    # Whatever came in its last moments was left to others.
    assert {job(job_id).state for job_id in waiting[-5:]} == {JobState.QUEUED}
    start(limited(tmp_path, name="second"))
    ring_now(*waiting, stuck)
    eventually(lambda: states(waiting) == {"succeeded": len(waiting)})
    row = until(stuck, JobState.SUCCEEDED)
    assert (lines(tmp_path / "once"), row.attempt, row.crashes) == (["1", "2"], 1, 0)
    assert (row.worker or "").startswith("second@test")


def test_a_thread_that_never_comes_back_does_not_keep_its_worker_alive(start: Start, tmp_path: Path) -> None:
    program = limited(tmp_path, concurrency=4, QUEUE_NOTIFICATIONS_TIME_LIMIT="60")
    program._argv[program._argv.index("crm_tasks")] = "tests.core.impatient"
    program._argv[program._argv.index("messages")] = "messages,notifications"
    start(program)
    neighbour = new("notifications.test_nap", args={"seconds": 60})
    until(neighbour, JobState.RUNNING)
    new(NAP, args={"seconds": 60})
    assert program.popen is not None
    assert program.popen.wait(20) == 75
    # It said goodbye: the neighbour's lost lease will be no crash.
    assert execute("SELECT count(*) FROM processes WHERE kind = 'worker' AND stopped_at IS NOT NULL") == [(1,)]


def test_a_job_past_its_limit_on_prefork_goes_back_too(start: Start, tmp_path: Path) -> None:
    start(limited(tmp_path, "imports", pool="prefork", concurrency=1, QUEUE_IMPORTS_TIME_LIMIT="1"))
    row = until(new("imports.test_nap", args={"seconds": 60}), JobState.DEAD)
    assert (row.attempt, row.crashes, [e["code"] for e in row.errors]) == (1, 0, ["time_limit"])
