"""The way out begins here: a message is a row and a job in the caller's transaction."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import service as contacts
from crm_tasks.core.db import now
from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.core.jobs.enqueue import current_trace, enqueue
from crm_tasks.core.text import storable
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import Category, Direction, Message, MessageState
from crm_tasks.messages.service import admission, attachments, news
from crm_tasks.messages.service.conversations import conversation, touch
from crm_tasks.providers import registry
from crm_tasks.providers.mail import compose
from crm_tasks.providers.provider import Provider
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel
from crm_tasks.workspaces.phones import e164

# A business-scoped user id: ISO country, a dot, up to 128 characters; of a portfolio with `ENT.` between.
USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")
LATEST = timedelta(days=366)
# Who writes with nobody there to hear a refusal: what they send is judged by the last look alone.
UNHEARD = ("ai", "flow", "campaign", "system")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What to say: the type and its object as the provider has it.

    Args:
        scheduled_for: not before; what is past is now.
        fallback: what instead: a `template` when the window is closed, `channels` on a definite refusal.
        metadata: data of the sender's own, kept in the content and passed on where the provider can.
        external: the sender's own `contactId` and `workspaceId`, which its gateway is told in the place of ours.
    """

    type: str
    content: dict[str, Any]
    context_id: str | None = None
    author: str = "api"
    priority: int = 3
    category: Category = Category.SERVICE
    scheduled_for: datetime | None = None
    fallback: dict[str, Any] | None = None
    fallback_of: uuid.UUID | None = None
    metadata: dict[str, Any] | None = None
    external: dict[str, str] | None = None

    @property
    def target_id(self) -> str | None:
        """Which message, by its provider id, this says something about."""
        return self.content.get("message_id") if self.type == "reaction" else None


def send_to(session: Session, workspace_id: uuid.UUID, channel_id: uuid.UUID, to: str, new: NewMessage) -> Message:
    """Accept a message to a phone number in any sane writing, a business-scoped user id or an e-mail address.

    Raises:
        NotFound: no such channel here. Invalid: not a recipient, or nothing that this channel can say.
    """
    channel = workspaces.channel(session, workspace_id, channel_id)
    provider = registry.provider(channel.kind)
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    names = recipient(session, workspace_id, provider, to)
    contact_id = contacts.resolve(session, workspace_id, names, at=moment)
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
    """Accept a message in a conversation: the row and its job.

    Raises:
        Invalid: not a type of this channel, or scheduled for more than a year ahead. Invalid, Conflict: the template
            or the 24-hour window does not allow it (`admission`), unless nobody is there to hear it.
    """
    provider = registry.provider(channel.kind)
    if new.type not in provider.types:
        kinds = ", ".join(provider.types)
        raise Invalid(
            f"A channel of kind {channel.kind} sends no {new.type}.",
            code="type_not_supported",
            fields=[FieldError("type", f"Use one of: {kinds}.")],
        )
    if new.metadata and provider.medium == "whatsapp":
        fields = [FieldError("metadata", "Leave this out: it would not be passed on.")]
        raise Invalid("WhatsApp takes no metadata.", code="no_metadata", fields=fields)
    own = {"metadata": new.metadata, "external": new.external}
    content = {**new.content, **{name: value for name, value in own.items() if value}}
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    due = due_at(new.scheduled_for, moment)
    if new.author not in UNHEARD and new.fallback_of is None:
        admission.admit(
            session, channel, conversation_id, new.type, new.content, fallback=new.fallback, at=due or moment
        )
    text, category = admission.described(session, channel, new.type, new.content)
    if category is None or new.category is Category.MARKETING:  # what the caller takes for marketing is
        category = new.category
    message = Message(
        id=message_id or new_id(),
        workspace_id=channel.workspace_id,
        channel_id=channel.id,
        conversation_id=conversation_id,
        contact_id=contact_id,
        direction=Direction.OUT,
        state=MessageState.QUEUED,
        type=new.type,
        content=storable(content),
        text=text,
        author=new.author,
        occurred_at=moment,
        context_provider_id=new.context_id,
        target_provider_id=new.target_id,
        media_id=attachments.checked(session, channel, new.type, new.content),
        trace_id=current_trace.get(),
        category=category,
        scheduled_for=due,
        fallback=storable(new.fallback) if new.fallback else None,
        fallback_of=new.fallback_of,
        parts=provider.measure(new.content) if provider.measure else None,
    )
    session.add(message)
    session.flush()
    touch(session, conversation_id, moment, inbound=False)
    message.job_id = enqueue_send(session, message, provider, priority=new.priority, run_at=due)
    session.flush()
    session.refresh(message)
    updated = news.updated(conversation_id, contact_id, channel.id, moment)
    news.tell(session, [(channel.workspace_id, updated)])
    return message


def due_at(scheduled_for: datetime | None, moment: datetime) -> datetime | None:
    """Return when a message is due; None is now, which what is past is as well.

    Raises:
        Invalid: more than a year ahead.
    """
    if scheduled_for is None or scheduled_for <= moment:
        return None
    if scheduled_for > moment + LATEST:
        raise Invalid(
            "This is more than a year ahead.",
            code="too_far_ahead",
            fields=[FieldError("scheduled_for", "Choose a moment within the next 366 days.")],
        )
    return scheduled_for


def enqueue_send(
    session: Session, message: Message, provider: Provider, *, priority: int = 3, run_at: datetime | None = None
) -> uuid.UUID:
    """Enqueue the sending of a message; those of one conversation leave one at a time and in order."""
    return enqueue(
        session,
        provider.task,
        args={"message_id": message.id},
        workspace_id=message.workspace_id,
        scopes=scopes(message.channel_id, message.conversation_id, message.contact_id),
        priority=priority,
        run_at=run_at,
        serial_key=f"send:{message.conversation_id}",
        trace=message.trace_id or message.id,
    )


def scopes(channel_id: uuid.UUID, conversation_id: uuid.UUID, contact_id: uuid.UUID | None) -> list[str]:
    """Return by what the sending of a message can be held."""
    return [f"channel:{channel_id}", f"conversation:{conversation_id}", f"contact:{contact_id}"]


def provider_of(session: Session, message: Message) -> Provider:
    """Return the provider of a message's channel."""
    return registry.provider(session.get_one(Channel, message.channel_id).kind)


def recipient(session: Session, workspace_id: uuid.UUID, provider: Provider, to: str) -> contacts.Names:
    """Return whom a provider's channel would reach by this writing.

    Raises:
        Invalid: not a recipient.
    """
    to = to.strip()
    if not to:
        raise Invalid("There is no recipient.", fields=[FieldError("to", "Give a phone number or a user id.")])
    if "email" in provider.reaches:
        return contacts.Names(email=email_address(to))
    if "bsuid" in provider.reaches and (match := USER_ID.fullmatch(to)):
        return contacts.Names(parent_bsuid=to) if match[1] else contacts.Names(bsuid=to)
    return contacts.Names(phone=e164(to, workspaces.get(session, workspace_id).region))


def email_address(text: str) -> str:
    """Return an e-mail address as it is kept, in lower case.

    Raises:
        Invalid: it is none.
    """
    try:
        return compose.normal(text)
    except ValueError as error:
        raise Invalid("This is not an e-mail address.", fields=[FieldError("to", str(error))]) from None
