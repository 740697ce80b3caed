"""Contacts that are removed go with their conversations; what waits to be sent to them is cancelled.

Whom a message is being sent to at this very moment stays: its answer would have no place. What somebody has refused
stays in any case: it belongs to the address.
"""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import directory
from crm_tasks.contacts.models import Contact
from crm_tasks.core import db
from crm_tasks.core.db import changed
from crm_tasks.core.errors import Conflict
from crm_tasks.core.jobs import repair
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Conversation, Message

log = get_logger(__name__)

# Messages of one transaction.
BATCH = 2_000
_SENDING: sa.ColumnElement[str] = sa.literal_column("'sending'")


def remove(workspace_id: uuid.UUID, contact_id: uuid.UUID, *, actor: str) -> None:
    """Remove one contact, a transaction at a time: a long history is no long transaction.

    Raises:
        NotFound: no such contact. Conflict: something is being sent to it, or it was erased.
    """
    with db.transaction() as session:
        directory.require_present(directory.get(session, workspace_id, contact_id))
        _refuse_busy(busy(session, [contact_id]))
    while db.retrying(clear, [contact_id], actor=actor):
        pass
    with db.transaction() as session:
        if not drop(session, workspace_id, [contact_id]):
            _refuse_busy(busy(session, [contact_id]))
    log.info("contact.removed", contact_id=str(contact_id), actor=actor)


def busy(session: Session, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return to whom something is being sent at this moment."""
    query = sa.select(Message.contact_id).where(Message.contact_id.in_(ids), Message.state == _SENDING)
    return {contact_id for contact_id in session.scalars(query.distinct()) if contact_id}


def clear(session: Session, ids: Sequence[uuid.UUID], *, actor: str) -> int:
    """Remove up to 2,000 messages of contacts and cancel the jobs of those that wait; 0 when none is left."""
    theirs = sa.select(Conversation.id).where(Conversation.contact_id.in_(ids))
    batch = (
        sa.select(Message.id)
        .where(Message.conversation_id.in_(theirs), Message.state != _SENDING)
        .order_by(Message.id)
        .limit(BATCH)
        .with_for_update()
    )
    statement = sa.delete(Message).where(Message.id.in_(batch)).returning(Message.job_id)
    gone = session.scalars(statement.execution_options(synchronize_session=False)).all()
    jobs = [job_id for job_id in gone if job_id is not None]
    repair.cancel_waiting(session, jobs, actor=actor, reason="the contact was removed")
    return len(gone)


def drop(session: Session, workspace_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> int:
    """Remove contacts whose history is cleared, and return how many; whom something is being sent to stays."""
    under_way = sa.select(Message.contact_id).where(Message.contact_id.in_(ids), Message.state == _SENDING)
    batch = (
        sa.select(Contact.id)
        .where(
            Contact.workspace_id == workspace_id,
            Contact.id.in_(ids),
            Contact.erased_at.is_(None),
            Contact.id.not_in(under_way),
        )
        .order_by(Contact.id)
        .with_for_update()
    )
    statement = sa.delete(Contact).where(Contact.id.in_(batch))
    return changed(session.execute(statement.execution_options(synchronize_session=False)))


def _refuse_busy(found: set[uuid.UUID]) -> None:
    if found:
        raise Conflict(
            "A message to this person is being sent at this moment.",
            code="message_under_way",
            hint="Try again in a few seconds.",
        )
