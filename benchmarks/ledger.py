"""No-op jobs per second through the ledger, beside bare Celery on the same broker.

One worker process of 20 threads on either side; the queue is filled first. The clock runs from the first job taken
to the last one done. Through the ledger each job is a committed row, claimed and finished in two transactions; bare
Celery is measured with events (which our workers send, for Flower) and without.
"""

import time
from dataclasses import dataclass

from benchmarks import lab, measure
from tests import harness

THREADS = 20


@dataclass(frozen=True, slots=True)
class Drained:
    """One queue worked off."""

    per_second: float
    cpu_s_per_1000: float


def ours(jobs: int) -> Drained:
    """Measure a worker and a scheduler as `make run` starts them."""
    from crm_tasks.core import db
    from crm_tasks.core.jobs import ring
    from crm_tasks.core.jobs.enqueue import NewJob, enqueue_many

    lab.clean()
    import benchmarks.tasks  # noqa: F401  so that it may be enqueued here

    with db.transaction() as session:
        enqueue_many(session, [NewJob(task="messages.noop", args={"number": number}) for number in range(jobs)])
    ring.flush()
    worker = harness.worker(lab.HOME, "messages", concurrency=THREADS, include="benchmarks.tasks")
    done = "SELECT count(*) FROM jobs WHERE state = 'succeeded'"
    span = "SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM jobs"
    with lab.programs((worker, ""), (harness.beat(lab.HOME), "")):
        measure.until(lambda: lab.scalar(done) == jobs, 120, every=0.2)
        return _drained(jobs, lab.scalar(span), worker)


def bare(jobs: int, *, events: bool) -> Drained:
    """Measure Celery's own worker with the same pool."""
    from benchmarks.bare import app, noop
    from crm_tasks.core.redis import manager

    lab.clean()
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        for number in range(jobs):
            noop.apply_async([number], producer=producer)
    broker = manager().client("broker")
    left = lambda: int(broker.llen("bare:bare"))  # noqa: E731
    worker = harness.Program("bare", _command(events=events), lab.HOME)
    with lab.programs((worker, "")):
        measure.until(lambda: left() < jobs, 30, every=0.001)
        started = time.monotonic()
        measure.until(lambda: not left() and not broker.hlen("bare:unacked"), 120, every=0.005)
        return _drained(jobs, time.monotonic() - started, worker)


def _command(*, events: bool) -> list[str]:
    command = ["celery", "-A", "benchmarks.bare", "worker", "-P", "threads", "-c", str(THREADS), "-l", "WARNING"]
    return [*command, "--without-mingle", "--without-gossip", *(["-E"] if events else [])]


def _drained(jobs: int, seconds: float, worker: harness.Program) -> Drained:
    return Drained(jobs / seconds, measure.cpu_seconds(worker.pid) / jobs * 1000)
