"""Telling customers that their message was read, and that somebody types."""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.messages.models import Direction, Message
from crm_tasks.providers import registry
from crm_tasks.providers.provider import MarkRead, Sender
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

_ONE_TRY_MORE = 2


@dataclass(frozen=True, slots=True)
class Order:
    """Everything needed to mark one message as read, without a transaction open."""

    mark_read: MarkRead
    sender: Sender
    provider_id: str


def mark(session: Session, workspace_id: uuid.UUID, message_id: uuid.UUID, *, typing: bool) -> uuid.UUID:
    """Have a customer's message marked as read, maybe with the typing indicator, and return the job.

    Raises:
        NotFound: no such message here. Conflict: it is ours, or its channel knows no such thing.
    """
    message = session.get(Message, message_id)
    if message is None or message.workspace_id != workspace_id:
        raise NotFound(f"There is no message {message_id}.", code="message_not_found")
    if message.direction is not Direction.IN or message.provider_id is None:
        raise Conflict(
            "Only a customer's message can be marked as read.",
            code="not_inbound",
            hint="Name a message of direction `in`. Without one WhatsApp cannot show that somebody types either.",
        )
    channel = session.get_one(Channel, message.channel_id)
    if registry.provider(channel.kind).mark_read is None:
        raise Conflict(f"A channel of kind {channel.kind} knows no read receipts.", code="read_not_supported")
    return enqueue(
        session,
        "messages.mark_read",
        args={"message_id": message.id, "typing": typing},
        workspace_id=workspace_id,
        scopes=[f"channel:{message.channel_id}", f"conversation:{message.conversation_id}"],
        priority=3,
        # Typing shown minutes late would be a lie.
        max_attempts=_ONE_TRY_MORE if typing else None,
        unique_key=f"{'type' if typing else 'read'}:{message.id}",
        serial_key=f"read:{message.conversation_id}",
    )


def begin(session: Session, message_id: uuid.UUID) -> Order | None:
    """Return what to tell the provider; None if a later message is marked: that says it of this one too."""
    message = session.get(Message, message_id)
    if message is None or message.provider_id is None:
        return None
    later = sa.select(Message.id).where(
        Message.conversation_id == message.conversation_id,
        sa.tuple_(Message.occurred_at, Message.id) > (message.occurred_at, message.id),
        Message.direction == Direction.IN,
        Message.read_at.is_not(None),
    )
    if session.scalar(later.limit(1)) is not None:
        done(session, message_id)
        return None
    channel = session.get_one(Channel, message.channel_id)
    mark_read = registry.provider(channel.kind).mark_read
    return Order(mark_read, workspaces.sender(channel), message.provider_id) if mark_read else None


def done(session: Session, message_id: uuid.UUID) -> None:
    """Remember when a customer's message was read."""
    session.execute(
        sa.update(Message)
        .where(Message.id == message_id)
        .values(read_at=sa.func.coalesce(Message.read_at, now()))
        .execution_options(synchronize_session=False)
    )
