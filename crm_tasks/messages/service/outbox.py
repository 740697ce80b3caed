"""The way out begins here: a message is a row and a job in the caller's transaction."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import service as contacts
from crm_tasks.contacts.models import Identity, IdentityKind
from crm_tasks.core.db import now
from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.core.jobs.enqueue import current_trace, enqueue
from crm_tasks.core.text import storable
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import Conversation, Direction, Message, MessageState
from crm_tasks.messages.service import news
from crm_tasks.messages.service.receive import conversation, touch
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

TYPES = ("text", "template")
# A business-scoped user id: ISO country, a dot, up to 128 characters; of a portfolio with `ENT.` between.
_USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What to say: the type and its object as the provider has it."""

    type: str
    content: dict[str, Any]
    context_id: str | None = None
    author: str = "api"
    priority: int = 3

    @property
    def text(self) -> str | None:
        """What a person reads of it in a list."""
        return self.content.get("body") if self.type == "text" else f"[{self.content.get('name', self.type)}]"


def send_to(session: Session, workspace_id: uuid.UUID, channel_id: uuid.UUID, to: str, new: NewMessage) -> Message:
    """Accept a message to a phone number, in any sane writing, or to a business-scoped user id.

    Raises:
        NotFound: no such channel here. Invalid: not a recipient.
    """
    channel = workspaces.channel(session, workspace_id, channel_id)
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    contact_id = contacts.resolve(session, workspace_id, _recipient(session, workspace_id, to), at=moment)
    return send_in(session, channel, conversation(session, channel, contact_id), contact_id, new)


def send_in(
    session: Session,
    channel: Channel,
    conversation_id: uuid.UUID,
    contact_id: uuid.UUID | None,
    new: NewMessage,
    *,
    message_id: uuid.UUID | None = None,
) -> Message:
    """Accept a message in a conversation: the row and its job."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    message = Message(
        id=message_id or new_id(),
        workspace_id=channel.workspace_id,
        channel_id=channel.id,
        conversation_id=conversation_id,
        contact_id=contact_id,
        direction=Direction.OUT,
        state=MessageState.QUEUED,
        type=new.type,
        content=storable(new.content),
        text=new.text,
        author=new.author,
        occurred_at=moment,
        context_provider_id=new.context_id,
        trace_id=current_trace.get(),
    )
    session.add(message)
    session.flush()
    touch(session, conversation_id, moment, inbound=False)
    message.job_id = enqueue_send(session, message, priority=new.priority)
    session.flush()
    session.refresh(message)
    updated = news.updated(conversation_id, contact_id, channel.id, moment)
    news.tell(session, [(channel.workspace_id, updated)])
    return message


def enqueue_send(session: Session, message: Message, *, priority: int = 3) -> uuid.UUID:
    """Enqueue the sending of a message; those of one conversation leave one at a time and in order."""
    return enqueue(
        session,
        "messages.send",
        args={"message_id": message.id},
        workspace_id=message.workspace_id,
        scopes=[
            f"channel:{message.channel_id}",
            f"conversation:{message.conversation_id}",
            f"contact:{message.contact_id}",
        ],
        priority=priority,
        serial_key=f"send:{message.conversation_id}",
        trace=message.trace_id or message.id,
    )


def address(session: Session, message: Message) -> dict[str, str]:
    """Return how the provider is told whom a message is for.

    Raises:
        Invalid: the contact has no identity that this channel can reach.
    """
    group_id = session.scalar(sa.select(Conversation.group_id).where(Conversation.id == message.conversation_id))
    if group_id:
        return {"recipient_type": "group", "to": group_id}
    rows = session.execute(
        sa.select(Identity.kind, Identity.value)
        .where(Identity.contact_id == message.contact_id, Identity.retired_at.is_(None))
        .order_by(Identity.created_at)
    )
    known: dict[IdentityKind, str] = dict(rows.all())
    if phone := known.get(IdentityKind.PHONE):
        return {"to": phone}
    if wa_id := known.get(IdentityKind.WA_ID):
        return {"to": f"+{wa_id}"}
    if bsuid := known.get(IdentityKind.BSUID) or known.get(IdentityKind.PARENT_BSUID):
        return {"recipient": bsuid}
    raise Invalid("This contact has no identity that the channel can reach.", code="no_identity")


def _recipient(session: Session, workspace_id: uuid.UUID, to: str) -> contacts.Names:
    to = to.strip()
    if not to:
        raise Invalid("There is no recipient.", fields=[FieldError("to", "Give a phone number or a user id.")])
    if match := _USER_ID.fullmatch(to):
        return contacts.Names(parent_bsuid=to) if match[1] else contacts.Names(bsuid=to)
    return contacts.Names(phone=workspaces.e164(to, workspaces.get(session, workspace_id).region))
