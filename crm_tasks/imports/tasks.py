"""Doors of the queue `imports`: files of contacts."""

import time
import uuid

from crm_tasks.celery import app
from crm_tasks.core.db import retrying, transaction
from crm_tasks.core.task import advanced, check, finishing, job
from crm_tasks.imports import running, service, undo


@app.task(name="imports.run", follow=service.follow)
def run(import_id: str) -> None:
    """Go on with an import."""
    with transaction() as session:
        order = running.begin(session, uuid.UUID(import_id), job().id)
    if order is not None:
        running.run(order)


@app.task(name="imports.undo", follow=undo.follow)
def take_back(import_id: str) -> None:
    """Take back what an import did, for as long as a job should take; another one goes on."""
    until = time.monotonic() + running.SHARE
    while retrying(undo.step, uuid.UUID(import_id)):
        check()
        advanced()
        if time.monotonic() > until:
            with finishing() as session:
                undo.go_on(session, uuid.UUID(import_id))
            return
