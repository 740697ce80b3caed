"""Telling the messages room of webhooks as its worker would, and reading what became of them."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
from crm_tasks.contacts import service as contacts
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.core import crypto, db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Conversation, InboundEvent, Message, MessageState, StatusEvent
from crm_tasks.messages.service import ingest, outbox, receive, results
from crm_tasks.messages.service.conversations import conversation
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Accepted
from crm_tasks.workspaces.models import Channel
from tests import payloads
from tests.core.ledger import EVERY_MINUTE
from tests.fixtures import Demo


def store(demo: Demo, *bodies: payloads.Json | bytes, secret: str | None = None) -> list[uuid.UUID]:
    """Keep requests as the webhook's door does, and return the events."""
    signer = crypto.secret_fingerprint(secret or demo.app_secret)
    raw = (body if isinstance(body, bytes) else payloads.raw(body) for body in bodies)
    return [ingest.store("whatsapp", body, [signer]) for body in raw]


def receive_all(ids: list[uuid.UUID]) -> None:
    """Apply events in one transaction, as one job does."""
    db.retrying(receive.receive, ids)


def tell(demo: Demo, *bodies: payloads.Json | bytes) -> list[InboundEvent]:
    """Store requests and apply each alone; return the events."""
    ids = store(demo, *bodies)
    for event_id in ids:
        receive_all([event_id])
    return [one(InboundEvent, InboundEvent.id == event_id) for event_id in ids]


def hear(demo: Demo, *messages: payloads.Json, **more: Any) -> list[Message]:
    """Tell of messages, each in a request of its own, and return what is kept of them."""
    events = tell(demo, *(payloads.told(demo, messages=[message], **more) for message in messages))
    assert [event.problem for event in events] == [None] * len(messages)
    return [kept(message["id"]) for message in messages]


def kept(provider_id: str) -> Message:
    """Return the message of a provider's id."""
    return one(Message, Message.provider_id == provider_id)


def one(model: type[Any], *conditions: Any) -> Any:
    """Return the only row."""
    (found,) = rows(model, *conditions)
    return found


def rows(model: type[Any], *conditions: Any) -> list[Any]:
    """Return rows, the oldest first; of all jobs, those that the calendar has not made."""
    if model is Job and not conditions:
        conditions = (Job.task != EVERY_MINUTE,)
    with db.transaction() as session:
        return list(session.scalars(sa.select(model).where(*conditions).order_by(model.id)))


def people() -> list[dict[str, Any]]:
    """Return every contact with its names, those given up in brackets."""
    return list(_people())


def _people() -> Iterator[dict[str, Any]]:
    for contact in rows(Contact):
        names = rows(Identity, Identity.contact_id == contact.id)
        yield {
            "id": contact.id,
            "name": contact.name,
            "names": sorted(f"[{n.value}]" if n.retired_at else n.value for n in names),
            "duplicate_of": contact.duplicate_of,
        }


def conversations() -> list[Conversation]:
    """Return every conversation."""
    return rows(Conversation)


def reports(provider_id: str) -> list[StatusEvent]:
    """Return every status that was reported of a message."""
    return rows(StatusEvent, StatusEvent.provider_id == provider_id)


def accepted(demo: Demo, provider_id: str, *, to: str = "+15550001111", body: str = "Hello") -> Message:
    """Return a message of ours that the provider has accepted, as if just sent."""
    message = ours(demo, MessageState.SENDING, to=to, body=body)
    with db.transaction() as session:
        results.record(session, message.id, Accepted(provider_id))
    return one(Message, Message.id == message.id)


def ours(demo: Demo, state: MessageState, *, to: str = "+15550001111", body: str = "Hello") -> Message:
    """Return a message of ours in a state that only a worker brings it to."""
    new = outbox.NewMessage(type="text", content={"body": body})
    with db.transaction() as session:
        where, heard = wrote(session, demo, to)
        message = outbox.send_to(session, demo.workspace_id, demo.channel_id, to, new)
        message.state = state
        where.last_inbound_at = heard
    return message


def wrote(session: Session, demo: Demo, to: str) -> tuple[Conversation, datetime | None]:
    """Let a person have written just now, so that free text may be sent; return the conversation, and when before."""
    channel = session.get_one(Channel, demo.channel_id)
    moment = session.scalar(sa.select(db.now()))
    assert moment is not None
    names = outbox.recipient(session, demo.workspace_id, registry.provider(channel.kind), to)
    contact_id = contacts.resolve(session, demo.workspace_id, names, at=moment)
    found = session.get_one(Conversation, conversation(session, channel, contact_id))
    before, found.last_inbound_at = found.last_inbound_at, moment
    session.flush()
    return found, before
