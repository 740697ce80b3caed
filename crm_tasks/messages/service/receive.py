"""Webhook events become contacts, conversations, messages and statuses.

Whatever order and however often events come, the end is the same: messages are known by their provider id, statuses
only rise, edits and deletions are rows of their own that readers apply. One event that cannot be understood is
quarantined alone.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.contacts import service as contacts
from crm_tasks.core.db import now
from crm_tasks.core.jobs.enqueue import current_trace, enqueue
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.media.service import fetching
from crm_tasks.messages.models import (
    Direction,
    EventState,
    InboundEvent,
    Message,
    MessageState,
)
from crm_tasks.messages.service import accounts, attachments, callbacks, news, optout, statuses
from crm_tasks.messages.service.conversations import conversation, touch
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Inbound
from crm_tasks.providers.whatsapp import webhook
from crm_tasks.providers.whatsapp.webhook import (
    AccountChange,
    IdentityChange,
    InboundMessage,
    Preference,
    Status,
    Update,
)
from crm_tasks.webhooks.service.publishing import News
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

WHATSAPP = "whatsapp"
# What says something about another message rather than something to answer.
ABOUT_OTHERS = ("reaction", "edit", "revoke", "system", "unsupported", "unknown", "request_welcome")


@dataclass(slots=True)
class Found:
    """What an event turned out to hold."""

    event: InboundEvent
    workspace_id: uuid.UUID | None
    updates: list[tuple[Channel, Update | Inbound]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def receive(session: Session, event_ids: Sequence[uuid.UUID]) -> None:
    """Apply stored events, in the order of their arrival. Events that are done already change nothing."""
    query = (
        sa.select(InboundEvent)
        .where(InboundEvent.id.in_(event_ids), InboundEvent.state != EventState.DONE)
        .order_by(InboundEvent.id)
        .with_for_update()
    )
    channels: dict[tuple, Channel | None] = {}
    found = [_read(session, event, channels) for event in session.scalars(query)]
    _apply(session, found)
    for item in found:
        # Only now: set sooner, a query in between would write each event twice.
        item.event.workspace_id = item.workspace_id
        item.event.problem = "; ".join(dict.fromkeys(item.problems))[:500] or None
        item.event.state = EventState.QUARANTINED if item.problems else EventState.DONE
        if item.problems:
            log.warning("event.quarantined", event_id=str(item.event.id), problem=item.event.problem)


def quarantine(session: Session, event_id: uuid.UUID, problem: str) -> None:
    """Put aside an event that could not be applied; a person sees it, and may replay it."""
    session.execute(
        sa.update(InboundEvent)
        .where(InboundEvent.id == event_id, InboundEvent.state != EventState.DONE)
        .values(state=EventState.QUARANTINED, problem=problem[:500])
    )
    log.warning("event.quarantined", event_id=str(event_id), problem=problem)


def _read(session: Session, event: InboundEvent, channels: dict[tuple, Channel | None]) -> Found:
    """Parse an event and find the channel of each update."""
    if event.provider != WHATSAPP:
        return _read_callback(session, event)
    parsed = webhook.parse(event.body)
    found = Found(event, event.workspace_id, problems=list(parsed.problems))
    for update in parsed.updates:
        where = (update.phone_number_id, update.waba_id)
        if where not in channels:
            channels[where] = workspaces.channel_for(session, *where)
        channel = channels[where]
        if channel is None:
            missing = f"number {update.phone_number_id}" if update.phone_number_id else f"account {update.waba_id}"
            found.problems.append(f"no channel has the {missing}")
        elif event.signed_by and not set(event.signed_by) & set(channel.signed_by):
            found.problems.append(f"signed with a secret that is not of channel {channel.name}")
        else:
            found.workspace_id = found.workspace_id or channel.workspace_id
            found.updates.append((channel, update))
    return found


def _read_callback(session: Session, event: InboundEvent) -> Found:
    """Parse what another provider told; the door has written down the channel that it came for."""
    found = Found(event, event.workspace_id)
    channel = session.get(Channel, uuid.UUID(event.signed_by[0]))
    if channel is None or channel.kind != event.provider:
        found.problems.append(f"there is no {event.provider} channel {event.signed_by[0]}")
        return found
    found.workspace_id = channel.workspace_id
    updates, found.problems = callbacks.read(event.provider, event.body)
    found.updates = [(channel, update) for update in updates]
    return found


def _apply(session: Session, found: Iterable[Found]) -> None:
    """Apply all updates, rows of one kind in one order, so that two workers rarely wait for each other."""
    collected: list[tuple[str, Channel, Update | Inbound, InboundEvent]] = []
    for item in found:
        for channel, update in item.updates:
            collected.append((_sort_key(update), channel, update, item.event))
    # Stable: what one person sent stays in the order of its arrival.
    collected.sort(key=lambda entry: entry[0])
    told: list[tuple[uuid.UUID, News]] = []
    by_channel: dict[uuid.UUID, list[tuple[Status, uuid.UUID]]] = {}
    channels: dict[uuid.UUID, Channel] = {}
    for _, channel, update, event in collected:
        match update:
            case Status():
                channels[channel.id] = channel
                by_channel.setdefault(channel.id, []).append((update, event.id))
            case InboundMessage():
                names = accounts.names_of(update.person)
                told += [(channel.workspace_id, each) for each in _message(session, channel, update, names, event)]
            case Inbound():
                said, names = callbacks.message(update), callbacks.names(update.sender)
                told += [(channel.workspace_id, each) for each in _message(session, channel, said, names, event)]
            case IdentityChange():
                contacts.change_identity(
                    session,
                    channel.workspace_id,
                    accounts.names_of(update.before),
                    accounts.names_of(update.after),
                    at=update.at or event.received_at,
                )
            case Preference() | AccountChange():
                accounts.apply(session, channel, update, event)
    for channel_id in sorted(by_channel):
        statuses.apply(session, channels[channel_id], by_channel[channel_id])
    news.tell(session, told)


def _sort_key(update: Update | Inbound) -> str:
    if isinstance(update, Inbound):
        return f"1:{update.sender.value}"
    if isinstance(update, InboundMessage):
        return f"1:{update.person.wa_id or update.person.bsuid or ''}"
    if isinstance(update, Preference):
        return f"1:{update.person.wa_id or update.person.bsuid or ''}"
    if isinstance(update, IdentityChange):
        return f"1:{update.before.wa_id or update.before.bsuid or ''}"
    return "2" if isinstance(update, AccountChange) else "3"


# --- messages ----------------------------------------------------------------------------------------------------


def _message(
    session: Session, channel: Channel, update: InboundMessage, names: contacts.Names, event: InboundEvent
) -> list[News]:
    """Keep a message and return what is to be told of it."""
    at = update.at or event.received_at
    if _known(session, channel.id, update.id):
        return []
    contact_id = contacts.resolve(session, channel.workspace_id, names, at=at)
    conversation_id = conversation(session, channel, contact_id, group_id=update.group_id)
    file = attachments.of_customer(update.type, update.content)
    media_id = new_id() if file else None
    row: dict[str, Any] = {
        "id": new_id(),
        "workspace_id": channel.workspace_id,
        "channel_id": channel.id,
        "conversation_id": conversation_id,
        "contact_id": contact_id,
        "direction": Direction.OUT if update.echo else Direction.IN,
        "state": MessageState.ACCEPTED if update.echo else MessageState.RECEIVED,
        "type": update.type,
        "content": update.content,
        "text": update.text,
        "author": "app" if update.echo else "customer",
        "occurred_at": at,
        "provider_id": update.id,
        "context_provider_id": update.context_id,
        "target_provider_id": update.target_id,
        "event_id": event.id,
        "trace_id": event.id,
        "raw": update.raw,
        "media_id": media_id,
    }
    statement = insert(Message).values(row).on_conflict_do_nothing(index_elements=["channel_id", "provider_id"])
    if session.execute(statement.returning(Message.id)).first() is None:
        return []  # another worker was faster with a duplicate of this event
    said_something = not update.echo and update.type not in ABOUT_OTHERS
    touch(session, conversation_id, at, inbound=said_something)
    if said_something and channel.kind == WHATSAPP:
        contacts.heard_from(session, contact_id, at=at)
    if file and media_id:
        fetching.want(session, channel, file, media_id=media_id, at=at)
    if update.echo:
        statuses.apply_parked(session, channel.id, update.id)
    elif _asks(session, channel, update, optout.Where(contact_id, conversation_id, row["id"]), at):
        _ask_for_answer(session, channel, conversation_id, row["id"], event)
    about = [] if update.echo else [news.received(row)]
    return [*about, news.updated(conversation_id, contact_id, channel.id, at)]


def _known(session: Session, channel_id: uuid.UUID, provider_id: str) -> bool:
    query = sa.select(Message.id).where(Message.channel_id == channel_id, Message.provider_id == provider_id)
    return session.scalar(query) is not None


# --- answers -----------------------------------------------------------------------------------------------------


def _asks(session: Session, channel: Channel, update: InboundMessage, where: optout.Where, at: datetime) -> bool:
    """Say whether a message is to be answered: not one that was a word to opt out or in, which is obeyed here."""
    return not optout.heard(session, channel, update, where, at=at) and _wants_answer(session, channel, update)


def _wants_answer(session: Session, channel: Channel, update: InboundMessage) -> bool:
    if update.type in ABOUT_OTHERS or update.group_id or "text" not in registry.provider(channel.kind).types:
        return False
    return workspaces.get(session, channel.workspace_id).auto_reply_since is not None


def _ask_for_answer(
    session: Session, channel: Channel, conversation_id: uuid.UUID, message_id: uuid.UUID, event: InboundEvent
) -> None:
    """Have the assistant answer: each message for itself, or after the reply window all of a burst together."""
    window = settings().reply_window
    token = current_trace.set(event.id)
    try:
        enqueue(
            session,
            "ai.reply",
            args={"message_id": message_id},
            workspace_id=channel.workspace_id,
            scopes=[f"channel:{channel.id}", f"conversation:{conversation_id}"],
            priority=2,
            run_at=session.scalar(sa.select(now() + window)) if window else None,
            unique_key=f"reply:{conversation_id}" if window else None,
            serial_key=f"reply:{conversation_id}",
        )
    finally:
        current_trace.reset(token)
