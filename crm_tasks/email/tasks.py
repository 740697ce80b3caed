"""Doors of the queue `email`: open a transaction, call the room, close."""

import uuid
from datetime import timedelta

from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Snooze
from crm_tasks.core.log import get_logger
from crm_tasks.core.task import job, record
from crm_tasks.email.service import receive as receiving
from crm_tasks.email.service import sending
from crm_tasks.messages.service import receive as events
from crm_tasks.messages.service import sending as messages
from crm_tasks.providers import http
from crm_tasks.providers.provider import Refusal

log = get_logger(__name__)


@app.task(name="email.send", follow=messages.follow)
def send(message_id: str) -> None:
    """Send one e-mail. The provider is called with no transaction open."""
    wanted, claim = uuid.UUID(message_id), job()
    with transaction() as session:
        order = sending.begin(session, wanted, claim)
    if order is None:
        return
    if isinstance(order, Snooze):
        raise order
    if not claim.holds_for(http.longest()):
        raise Snooze(timedelta(seconds=1), "the lease would not outlast the request", code="short_lease")
    result = order.provider.send(order.sender, order.message)
    if isinstance(result, Refusal):
        with transaction() as session:
            outcome = sending.refused(session, order, claim, result)
        raise outcome
    record(lambda session: messages.record(session, wanted, result))


@app.task(name="email.receive")
def receive(event_ids: list[str]) -> None:
    """Apply callbacks and returned mail, each alone: one that fails is put aside and stops no other."""
    for event_id in map(uuid.UUID, event_ids):
        try:
            db.retrying(receiving.receive, event_id)
        except Exception as error:  # whatever a foreign event can cause
            if db.is_transient(error):
                raise
            log.exception("receive.failed", event_id=str(event_id))
            db.retrying(events.quarantine, event_id, f"{type(error).__name__}: {db.reason(error)}")
