"""Doors of the queue `webhooks`: open a transaction, call the room, close."""

import time
import uuid

from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.db import transaction
from crm_tasks.core.task import job, record, until_stored
from crm_tasks.providers import outbound
from crm_tasks.webhooks.service import delivering


@app.task(name="webhooks.deliver", follow=delivering.follow)
def deliver(delivery_id: str) -> None:
    """Bring one event to one endpoint. The endpoint is called with no transaction open."""
    wanted = uuid.UUID(delivery_id)
    with transaction() as session:
        order = delivering.begin(session, wanted)
    if order is None:
        return
    time.sleep(order.wait)
    reply = outbound.post(order.url, order.body, order.headers)
    if reply.ok:
        record(lambda session: delivering.delivered(session, wanted, reply))
        return
    outcome = until_stored(lambda: db.retrying(delivering.failed, wanted, reply, job()))
    if outcome is not None:
        raise outcome
