"""What the tests of the core look at: rows of the ledger, lists of the broker, the servers' processes."""

import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
import sqlalchemy as sa

from crm_tasks.core import db, metrics, sweep
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.claim import Claim, claim
from crm_tasks.core.jobs.enqueue import NewJob, enqueue, enqueue_many
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.queues import Queue, queue_of
from crm_tasks.core.redis import manager
from tests import tasks  # noqa: F401  registered, so that these may be enqueued
from tests.harness import eventually

NOTE, NAP, FAIL = "messages.test_note", "messages.test_nap", "messages.test_fail"
# Processes that notice within seconds what others notice within a minute. All of a test must have the same.
QUICK = {"LEASE": "4", "LEASE_RENEWAL": "1", "HTTP_TIMEOUT": "2", "UNKNOWN_WAIT": "7"}


def new(task: str = NOTE, **options: Any) -> uuid.UUID:
    """Enqueue one job in a transaction of its own."""
    options.setdefault("args", {"path": "/dev/null"} if task == NOTE else {})
    return db.retrying(enqueue, task, **options)


def many(count: int, task: str = NOTE, **options: Any) -> list[uuid.UUID]:
    """Enqueue equal jobs with one call."""
    options.setdefault("args", {"path": "/dev/null"} if task == NOTE else {})
    return db.retrying(enqueue_many, [NewJob(task=task, **options) for _ in range(count)])


def unrung(count: int = 1, task: str = NOTE, **options: Any) -> list[uuid.UUID]:
    """Enqueue jobs whose rings went nowhere: the scheduler finds them due."""
    ids = many(count, task, **options)
    assert ring.flush(10)
    update(ids, "rung_at = NULL")
    client = manager().client("broker")
    client.delete(*ring.broker_keys(queue_of(task)))
    return ids


def take(job_id: uuid.UUID, worker: str = "a worker") -> Claim:
    """Claim a job as a worker would."""
    taken = claim(job_id, queue=job(job_id).queue, worker=worker)
    assert taken is not None
    return taken


def ring_now(*ids: uuid.UUID) -> None:
    """Make jobs due and do what the scheduler does at its next tick."""
    update(ids, "run_at = crm_now()")
    for queue in {job(job_id).queue for job_id in ids}:
        sweep.ring_due(Queue(queue))


def job(job_id: uuid.UUID) -> Job:
    """Return the row of a job."""
    with db.transaction() as session:
        return session.get_one(Job, job_id)


def jobs(*conditions: Any) -> list[Job]:
    """Return rows, the oldest first."""
    with db.transaction() as session:
        return list(session.scalars(sa.select(Job).where(*conditions).order_by(Job.id)))


EVERY_MINUTE = "campaigns.supervise_all"


def states(ids: Iterable[uuid.UUID] | None = None) -> Counter[str]:
    """Return how many jobs are in each state; without what the calendar enqueues at every minute."""
    query = sa.select(Job.state, sa.func.count()).where(Job.task != EVERY_MINUTE).group_by(Job.state)
    if ids is not None:
        query = query.where(Job.id.in_(list(ids)))
    with db.transaction() as session:
        return Counter({str(state): count for state, count in session.execute(query)})


def until(job_id: uuid.UUID, state: JobState, timeout: float = 15.0) -> Job:
    """Wait for a state of a job and return its row then."""
    return eventually(
        lambda: found if (found := job(job_id)).state is state else None,
        f"job {job_id} {state}; it is {job(job_id).state}",
        timeout,
    )


def update(ids: Iterable[uuid.UUID], change: str) -> None:
    """Change rows as no code of ours does."""
    execute(f"UPDATE jobs SET {change} WHERE id = ANY(:ids)", ids=list(ids))


def execute(statement: str, **values: Any) -> Any:
    """Run SQL and return its rows, if it has any."""
    with db.transaction() as session:
        result = session.execute(sa.text(statement), values)
        return result.all() if result.returns_rows else None


def rung(queue: str = "messages") -> list[str]:
    """Return the ids in a queue's lists at the broker, in the order that workers take them."""
    assert ring.flush(10)
    client = manager().client("broker")
    found: list[str] = []
    for key in ring.broker_keys(queue):
        found += [orjson.loads(item)["headers"]["id"] for item in reversed(client.lrange(key, 0, -1))]
    return found


def counted(name: str) -> int:
    """Return a counter of this process."""
    return metrics.snapshot().get(name, 0)


def counted_by(program_name: str, counter: str) -> int:
    """Return a counter of another process, as its heartbeat tells."""
    found = execute(
        "SELECT coalesce((counters->>:counter)::int, 0) FROM processes WHERE name LIKE :name || '%' "
        "ORDER BY seen_at DESC LIMIT 1",
        counter=counter,
        name=program_name,
    )
    return found[0][0] if found else 0


def lines(path: Path) -> list[str]:
    """Return what tasks have written so far."""
    return path.read_text().splitlines() if path.exists() else []


def said(log: str, event: str) -> list[dict[str, Any]]:
    """Return the log lines of one event."""
    found = []
    for line in log.splitlines():
        if f'"{event}"' in line:
            entry = orjson.loads(line)
            found += [entry] if entry.get("event") == event else []
    return found


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process with SIGSTOP: it refuses nothing and answers nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def valkey_pid() -> int:
    """Return the process of the tests' Valkey."""
    return manager().client().info("server")["process_id"]


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run functions at the same time and return what each returned or raised."""
    results: list[Any] = [None] * len(functions)
    together = threading.Barrier(len(functions))

    def run(position: int, function: Callable[[], Any]) -> None:
        together.wait(10)
        try:
            results[position] = function()
        except Exception as error:  # noqa: BLE001  the test looks at it
            results[position] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def waits_for_a_lock(count: int = 1) -> bool:
    """Say whether so many statements wait for another transaction."""
    with psycopg.connect(db.psycopg_url()) as connection:
        found = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return found is not None and found[0] >= count
