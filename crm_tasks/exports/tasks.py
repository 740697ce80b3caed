"""Doors of the queue `exports`."""

import uuid

from crm_tasks.celery import app
from crm_tasks.core.db import transaction
from crm_tasks.core.task import job
from crm_tasks.exports import running, service


@app.task(name="exports.run", follow=service.follow)
def run(export_id: str) -> None:
    """Make the file of an export."""
    with transaction() as session:
        work = running.begin(session, uuid.UUID(export_id), job().id)
    if work is not None:
        running.run(work)
