"""Doors of the queue `imports` for work on contacts that are here already."""

import time
import uuid

from crm_tasks.celery import app
from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.queues import Queue
from crm_tasks.core.task import advanced, check, finishing, job, progress
from crm_tasks.imports import bulk as acting
from crm_tasks.imports import erasing

# How much of its time limit a job uses before it leaves the rest to another.
SHARE = 0.6


def _end() -> float:
    return job().claimed + settings().queues[Queue.IMPORTS].time_limit * SHARE


@app.task(name="imports.bulk", follow=acting.follow)
def bulk(bulk_id: str) -> None:
    """Do one action on many contacts."""
    wanted, end = uuid.UUID(bulk_id), _end()
    while time.monotonic() < end:
        check()
        while db.retrying(acting.clear, wanted):
            check()
        done = db.retrying(acting.step, wanted)
        if done is None:
            return
        advanced()
        progress(done.matched, done.audience_size, done.action)
    with finishing() as session:
        acting.go_on(session, wanted)


@app.task(name="imports.erase", follow=erasing.follow)
def erase(erasure_id: str) -> None:
    """Take a person out of every store."""
    wanted, end = uuid.UUID(erasure_id), _end()
    while time.monotonic() < end:
        check()
        store = db.retrying(erasing.step, wanted)
        if store is None:
            return
        advanced()
        progress(store, erasing.STEPS, erasing.name_of(store))
    with finishing() as session:
        erasing.go_on(session, wanted)
