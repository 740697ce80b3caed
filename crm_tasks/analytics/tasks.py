"""Doors of the queue `analytics`."""

import time

from crm_tasks.analytics import service
from crm_tasks.celery import app
from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.jobs import in_bulk
from crm_tasks.core.jobs.in_bulk import Bulk
from crm_tasks.core.queues import Queue
from crm_tasks.core.task import advanced, finishing, job, progress

# How much of its time limit a clean-up uses before it leaves the rest to another job.
SHARE = 0.6


@app.task(name="analytics.clean_up")
def clean_up() -> dict[str, int]:
    """Remove what is older than its retention, 5,000 rows at a time."""
    removed: dict[str, int] = {}
    end = job().claimed + settings().queues[Queue.ANALYTICS].time_limit * SHARE
    db.retrying(service.prepare)
    for position, what in enumerate(todo := service.clean_ups()):
        progress(position, len(todo), what.name)
        while count := db.retrying(service.step, what):
            removed[what.name] = removed.get(what.name, 0) + count
            advanced()
            progress(position, len(todo), what.name)
            if time.monotonic() > end:
                with finishing(removed) as session:
                    service.go_on(session)
                return removed
    return removed


@app.task(name="analytics.settle_dead")
def settle_dead(
    fingerprint: str,
    workspace_id: str | None,
    actor: str,
    total: int,
    per_minute: int,
    reason: str,
    after: str,
    done: int,
) -> dict[str, int]:
    """Retry or discard many dead letters of one cause, batch by batch; returns how many that were so far."""
    bulk = Bulk(
        fingerprint=fingerprint,
        workspace_id=workspace_id,
        actor=actor,
        total=total,
        per_minute=per_minute,
        reason=reason,
        after=after,
        done=done,
    )
    end = job().claimed + settings().queues[Queue.ANALYTICS].time_limit * SHARE
    while then := db.retrying(in_bulk.step, bulk):
        bulk = then
        advanced()
        progress(bulk.done, bulk.total)
        if time.monotonic() > end:
            with finishing({"jobs": bulk.done}) as session:
                in_bulk.go_on(session, bulk)
            break
    return {"jobs": bulk.done}
