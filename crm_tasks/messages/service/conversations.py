"""The conversation with a contact or in a group, and how long free text may be sent in it."""

import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import Conversation
from crm_tasks.workspaces.models import Channel

# Meta, "Send messages": the customer service window.
WINDOW = timedelta(hours=24)


def conversation(
    session: Session, channel: Channel, contact_id: uuid.UUID, *, group_id: str | None = None
) -> uuid.UUID:
    """Return the conversation with a contact (or in a group) on a channel, made if there is none."""
    column, value = (Conversation.group_id, group_id) if group_id else (Conversation.contact_id, contact_id)
    query = sa.select(Conversation.id).where(Conversation.channel_id == channel.id, column == value)
    found = session.scalar(query)
    if found is not None:
        return found
    statement = insert(Conversation).values(
        id=new_id(), workspace_id=channel.workspace_id, channel_id=channel.id, **{column.key: value}
    )
    session.execute(statement.on_conflict_do_nothing())
    return session.scalars(query).one()


def touch(session: Session, conversation_id: uuid.UUID, at: datetime, *, inbound: bool) -> None:
    """Note when a conversation last heard something; an older event never turns it back."""
    values = {"last_message_at": sa.func.greatest(Conversation.last_message_at, at)}
    if inbound:
        values["last_inbound_at"] = sa.func.greatest(Conversation.last_inbound_at, at)
    session.execute(
        sa.update(Conversation)
        .where(Conversation.id == conversation_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def closes_at(last_inbound_at: datetime | None) -> datetime | None:
    """Return until when free text may be sent after a customer's message; None if there is no message.

    WINDOW_MARGIN early: what is accepted in the last minute must still arrive in time.
    """
    return last_inbound_at + WINDOW - settings().window_margin if last_inbound_at else None
