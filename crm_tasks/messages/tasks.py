"""Doors of the queue `messages`: open a transaction, call the room, close."""

import uuid
from datetime import timedelta

from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Outcome, Snooze
from crm_tasks.core.log import get_logger
from crm_tasks.core.task import finishing, job, record
from crm_tasks.messages.service import receive as receiving
from crm_tasks.messages.service import sending
from crm_tasks.messages.service import settle as settling
from crm_tasks.providers import http
from crm_tasks.providers.provider import Refusal

log = get_logger(__name__)


@app.task(name="messages.receive")
def receive(event_ids: list[str]) -> None:
    """Apply webhook events. One that fails is found by taking each alone, and put aside."""
    ids = [uuid.UUID(each) for each in event_ids]
    try:
        with finishing() as session:
            receiving.receive(session, ids)
        return
    except Exception as error:  # whatever a foreign event can cause must not stop the others
        if isinstance(error, Outcome) or db.is_transient(error):
            raise
        log.warning("receive.one_by_one", events=len(ids), error=type(error).__name__)
    for event_id in ids:
        _receive_alone(event_id)


def _receive_alone(event_id: uuid.UUID) -> None:
    try:
        db.retrying(receiving.receive, [event_id])
    except Exception as error:
        if db.is_transient(error):
            raise
        log.exception("receive.failed", event_id=str(event_id))
        db.retrying(receiving.quarantine, event_id, f"{type(error).__name__}: {db.reason(error)}")


@app.task(name="messages.send", follow=sending.follow)
def send(message_id: str) -> None:
    """Send one message. The provider is called with no transaction open."""
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
            outcome = sending.refused(session, wanted, claim, result)
        raise outcome
    record(lambda session: sending.record(session, wanted, result))


@app.task(name="messages.settle")
def settle(message_id: str) -> None:
    """Look after a send whose outcome nobody knows."""
    with finishing() as session:
        settling.settle(session, uuid.UUID(message_id))
