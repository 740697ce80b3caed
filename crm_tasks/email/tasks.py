"""Doors of the queue `email`: open a transaction, call the room, close."""

import uuid

from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.log import get_logger
from crm_tasks.email.service import receive as receiving
from crm_tasks.email.service import sending
from crm_tasks.messages.service import receive as events
from crm_tasks.messages.service import results
from crm_tasks.messages.service.sending import Begun, Wish
from crm_tasks.messages.tasks import deliver

log = get_logger(__name__)


@app.task(name="email.send", follow=results.follow)
def send(message_id: str) -> None:
    """Send one e-mail."""
    deliver(uuid.UUID(message_id), begin=_begin, also=sending.refused)


def _begin(wish: Wish) -> Begun:
    with db.transaction() as session:
        return sending.begin(session, wish.message_id, wish.claim, wish.start)


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
