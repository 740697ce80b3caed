"""What was said: conversations and their messages, newest first, page by page.

Edits, deletions and reactions are rows of their own; they are laid over the messages they mean here, on reading.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.models import Contact
from crm_tasks.core.errors import NotFound
from crm_tasks.messages.models import Conversation, Direction, Message, MessageState

_CHANGES = ("reaction", "edit", "revoke")
# The customer had the last word; as the index says it.
WAITS = Conversation.last_inbound_at >= Conversation.last_message_at
_NEVER_ARRIVED = (MessageState.FAILED, MessageState.CANCELLED, MessageState.SUPPRESSED)


@dataclass(slots=True)
class Shown:
    """A message as a person sees it now."""

    message: Message
    edited: dict[str, Any] | None = None
    edited_text: str | None = None
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    reactions: list[dict[str, Any]] = field(default_factory=list)


def get(session: Session, workspace_id: uuid.UUID, message_id: uuid.UUID) -> Shown:
    """Return one message of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    message = session.get(Message, message_id)
    if message is None or message.workspace_id != workspace_id:
        raise NotFound(f"There is no message {message_id}.", code="message_not_found")
    return overlaid(session, [message])[0]


def conversations(
    session: Session,
    workspace_id: uuid.UUID,
    *,
    contact_id: uuid.UUID | None = None,
    contact_ids: Sequence[uuid.UUID] | None = None,
    waiting: bool = False,
    taken_over: bool = False,
    before: tuple[datetime, uuid.UUID] | None = None,
    limit: int = 50,
) -> list[tuple[Conversation, Contact | None]]:
    """Return conversations with their contacts, the one that spoke last first.

    Args:
        waiting: only those in which the customer had the last word.
        taken_over: only those in which a person answers.
    """
    query = (
        sa.select(Conversation, Contact)
        .outerjoin(Contact, Contact.id == Conversation.contact_id)
        .where(Conversation.workspace_id == workspace_id, Conversation.last_message_at.is_not(None))
        .order_by(Conversation.last_message_at.desc(), Conversation.id.desc())
        .limit(limit)
    )
    if contact_id is not None:
        query = query.where(Conversation.contact_id == contact_id)
    if contact_ids is not None:
        query = query.where(Conversation.contact_id.in_(contact_ids))
    if waiting:
        query = query.where(WAITS)
    if taken_over:
        query = query.where(Conversation.human_since.is_not(None))
    if before is not None:
        query = query.where(sa.tuple_(Conversation.last_message_at, Conversation.id) < before)
    return [(row[0], row[1]) for row in session.execute(query)]


def conversation(
    session: Session, workspace_id: uuid.UUID, conversation_id: uuid.UUID
) -> tuple[Conversation, Contact | None]:
    """Return one conversation of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    query = (
        sa.select(Conversation, Contact)
        .outerjoin(Contact, Contact.id == Conversation.contact_id)
        .where(Conversation.id == conversation_id, Conversation.workspace_id == workspace_id)
    )
    row = session.execute(query).first()
    if row is None:
        raise NotFound(f"There is no conversation {conversation_id}.", code="conversation_not_found")
    return row[0], row[1]


def messages(
    session: Session,
    conversation_id: uuid.UUID,
    *,
    before: tuple[datetime, uuid.UUID] | None = None,
    since: tuple[datetime, uuid.UUID] | None = None,
    limit: int = 50,
) -> list[Shown]:
    """Return messages of a conversation, the newest first, with what was done to them afterwards."""
    query = (
        sa.select(Message)
        .where(Message.conversation_id == conversation_id, Message.type.not_in(_CHANGES))
        .order_by(Message.occurred_at.desc(), Message.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(sa.tuple_(Message.occurred_at, Message.id) < before)
    if since is not None:
        query = query.where(sa.tuple_(Message.occurred_at, Message.id) >= since)
    return overlaid(session, session.scalars(query).all())


def last_words(session: Session, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Shown]:
    """Return the newest message of each of these conversations, with what was done to it afterwards."""
    wanted = sa.select(sa.func.unnest(sa.cast(list(ids), sa.ARRAY(sa.Uuid()))).label("id")).subquery()
    newest = (
        sa.select(Message.id)
        .where(Message.conversation_id == wanted.c.id, Message.type.not_in(_CHANGES))
        .order_by(Message.occurred_at.desc(), Message.id.desc())
        .limit(1)
        .correlate(wanted)
        .scalar_subquery()
    )
    found = session.scalars(sa.select(Message).where(Message.id.in_(sa.select(newest).select_from(wanted))))
    return {each.message.conversation_id: each for each in overlaid(session, found.all())}


def quoted(session: Session, found: Iterable[Message]) -> dict[str, Shown]:
    """Return the messages that these reply to, by their provider ids, with what was done to them afterwards."""
    meant = {(each.channel_id, each.context_provider_id) for each in found if each.context_provider_id}
    if not meant:
        return {}
    query = sa.select(Message).where(sa.tuple_(Message.channel_id, Message.provider_id).in_(meant))
    return {str(each.message.provider_id): each for each in overlaid(session, session.scalars(query).all())}


def of_contact(session: Session, contact_id: uuid.UUID, *, limit: int = 50) -> list[Shown]:
    """Return what was last written to or by a person, on every channel and in groups, the newest first."""
    query = (
        sa.select(Message)
        .where(Message.contact_id == contact_id, Message.type.not_in(_CHANGES))
        .order_by(Message.id.desc())
        .limit(limit)
    )
    return overlaid(session, session.scalars(query).all())


def overlaid(session: Session, found: Iterable[Message]) -> list[Shown]:
    """Lay edits, deletions and reactions over messages: of each the latest counts, however they came."""
    shown: dict[tuple[uuid.UUID, str | None], Shown] = {
        (m.channel_id, m.provider_id): Shown(m) for m in found if m.provider_id is not None
    }
    by_id = {item.message.id: item for item in shown.values()}
    if shown:
        query = (
            sa.select(Message)
            .where(
                Message.channel_id.in_({channel_id for channel_id, _ in shown}),
                Message.target_provider_id.in_({provider_id for _, provider_id in shown}),
                Message.state.not_in(_NEVER_ARRIVED),
            )
            .order_by(Message.occurred_at, Message.provider_id)
        )
        for change in session.scalars(query):
            target = shown.get((change.channel_id, change.target_provider_id))
            if target is not None:
                _lay_over(target, change)
    return [by_id.get(m.id) or Shown(m) for m in found]


def _lay_over(shown: Shown, change: Message) -> None:
    if change.type == "edit":
        new = change.content.get("message")
        shown.edited = new if isinstance(new, dict) else change.content
        shown.edited_text, shown.edited_at = change.text, change.occurred_at
    elif change.type == "revoke":
        shown.deleted_at = shown.deleted_at or change.occurred_at
    else:
        who = str(change.contact_id) if change.direction is Direction.IN else "us"
        shown.reactions = [r for r in shown.reactions if r["from"] != who]
        if emoji := change.content.get("emoji"):
            shown.reactions.append({"from": who, "emoji": emoji, "at": change.occurred_at})
