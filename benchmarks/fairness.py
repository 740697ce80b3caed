"""Shares of the workers among workspaces: 100,000 jobs of one and ten of another; three weights, all with work.

One worker process of 20 threads and a scheduler as `make run` starts them; each job takes as long as a short request.
"""

import time
import uuid
from collections import Counter
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from benchmarks import lab, measure
from tests import harness

THREADS, TAKES = 20, 0.02
CROWD, FEW, ROUNDS = 100_000, 10, 10
WEIGHTS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Waited:
    """How long the few waited behind the crowd, in seconds, over all rounds."""

    p50: float
    p95: float
    longest: float


@dataclass(frozen=True, slots=True)
class Shared:
    """What each weight was served, as a part of one, and the greatest difference from its due."""

    shares: dict[int, float]
    off: float


def waited() -> Waited:
    """Measure from the enqueue of ten jobs to each one's start, while a crowd of another workspace waits."""
    crowd, few = _clean()[:2]
    _enqueue(CROWD, crowd)
    with _running():
        measure.until(lambda: lab.scalar("SELECT count(*) FROM jobs WHERE state = 'succeeded'") > 1_000, 60)
        for _ in range(ROUNDS):
            _enqueue(FEW, few)
            time.sleep(3)
        started = f"FROM jobs WHERE workspace_id = '{few}' AND started_at IS NOT NULL"
        measure.until(lambda: lab.scalar(f"SELECT count(*) {started}") == FEW * ROUNDS, 60)
        assert lab.scalar("SELECT count(*) FROM jobs WHERE state = 'queued'") > CROWD / 2
        seconds = [float(row[0]) for row in _rows(f"SELECT extract(epoch FROM started_at - created_at) {started}")]
    parts = quantiles(seconds, n=20)
    return Waited(parts[9], parts[18], max(seconds))


def shared() -> Shared:
    """Measure what three workspaces are served in ten seconds, each with more work than that."""
    tenants = dict(zip(WEIGHTS, _clean(), strict=True))
    for weight, workspace_id in tenants.items():
        _rows(f"UPDATE workspaces SET weight = {weight} WHERE id = '{workspace_id}' RETURNING id")
        _enqueue(20_000, workspace_id)
    with _running():
        started = "FROM jobs WHERE started_at IS NOT NULL"
        measure.until(lambda: lab.scalar(f"SELECT count(*) {started}") > 500, 60)
        since = _rows("SELECT now()")[0][0]
        time.sleep(10)
        found = Counter(row[0] for row in _rows(f"SELECT workspace_id {started} AND started_at > '{since}'"))
    shares = {weight: found[workspace_id] / found.total() for weight, workspace_id in tenants.items()}
    return Shared(shares, max(abs(share - weight / sum(WEIGHTS)) for weight, share in shares.items()))


def _clean() -> list[uuid.UUID]:
    import benchmarks.tasks  # noqa: F401  so that these may be enqueued here
    from crm_tasks.core import db
    from crm_tasks.workspaces import service

    lab.clean()
    with db.transaction() as session:
        return [service.create(session, f"Workspace {n}").id for n in WEIGHTS]


def _enqueue(count: int, workspace_id: uuid.UUID) -> None:
    from crm_tasks.core import db
    from crm_tasks.core.jobs.enqueue import NewJob, enqueue_many

    job = NewJob(task="messages.wait", args={"seconds": TAKES}, workspace_id=workspace_id)
    with db.transaction() as session:
        enqueue_many(session, [job] * count)


def _running() -> Any:
    worker = harness.worker(lab.HOME, "messages", concurrency=THREADS, include="benchmarks.tasks")
    return lab.programs((worker, ""), (harness.beat(lab.HOME), ""))


def _rows(statement: str) -> list[Any]:
    import sqlalchemy as sa

    from crm_tasks.core import db

    with db.transaction() as session:
        return list(session.execute(sa.text(statement)))
