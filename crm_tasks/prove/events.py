"""What must be true of webhooks that were acknowledged: each is looked after, and what it tells is here."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.messages.models import EventState, InboundEvent, Message, StatusEvent
from crm_tasks.messages.service import callbacks, ingest
from crm_tasks.messages.service.receive import WHATSAPP
from crm_tasks.prove.invariant import Invariant, rows
from crm_tasks.providers.provider import Inbound
from crm_tasks.providers.whatsapp import webhook
from crm_tasks.providers.whatsapp.webhook import InboundMessage, Status
from crm_tasks.workspaces.models import Channel

_AT_ONCE = 1_000
_Update = InboundMessage | Status


def _events_are_looked_after(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT id || ' was stored at ' || received_at || ' and nobody applies it' FROM inbound_events e "
        "WHERE state = 'received' AND received_at < crm_now() - cast(:grace AS interval) AND NOT EXISTS ("
        "  SELECT FROM jobs j WHERE j.task LIKE '%.receive' AND j.state IN ('queued', 'running', 'dead') "
        "    AND j.args -> 'event_ids' ? e.id::text)",
        grace=grace,
    )


def _messages_are_here(session: Session, _grace: timedelta) -> Iterator[str]:
    for page in _pages(session):
        told = {
            (channel_id, update.id): event_id
            for event_id, channel_id, update in _told(session, page)
            if isinstance(update, InboundMessage)
        }
        query = sa.select(Message.channel_id, Message.provider_id).where(
            Message.provider_id.in_({provider_id for _, provider_id in told})
        )
        for key in told.keys() - {tuple(row) for row in session.execute(query)}:
            yield f"event {told[key]}: its message {key[1]} is not here"


def _statuses_are_here(session: Session, _grace: timedelta) -> Iterator[str]:
    for page in _pages(session):
        told = {
            (channel_id, update.id, update.status): event_id
            for event_id, channel_id, update in _told(session, page)
            if isinstance(update, Status)
        }
        query = sa.select(StatusEvent.channel_id, StatusEvent.provider_id, StatusEvent.status).where(
            StatusEvent.provider_id.in_({provider_id for _, provider_id, _ in told})
        )
        for key in told.keys() - {tuple(row) for row in session.execute(query)}:
            yield f"event {told[key]}: the status {key[2]} of {key[1]} is not here"


def _pages(session: Session) -> Iterator[Sequence[sa.Row]]:
    """Yield the applied events, the oldest first."""
    after = uuid.UUID(int=0)
    while True:
        query = sa.select(InboundEvent.id, InboundEvent.provider, InboundEvent.signed_by, InboundEvent.body).where(
            InboundEvent.id > after, InboundEvent.state == EventState.DONE
        )
        page = session.execute(query.order_by(InboundEvent.id).limit(_AT_ONCE)).all()
        if not page:
            return
        yield page
        after = page[-1].id


def _told(session: Session, page: Sequence[sa.Row]) -> Iterator[tuple[uuid.UUID, uuid.UUID, _Update]]:
    """Yield what events tell of channels that are still ours: event, channel, update."""
    rows = session.execute(sa.select(Channel.phone_number_id, Channel.id)).all()
    numbers, channels = {row.phone_number_id: row.id for row in rows}, {row.id for row in rows}
    for event in page:
        if event.provider != WHATSAPP:
            yield from _told_by_callback(event, channels)
            continue
        for update in webhook.parse(bytes(event.body)).updates:
            channel_id = numbers.get(update.phone_number_id or "")
            if isinstance(update, InboundMessage | Status) and channel_id:
                yield event.id, channel_id, update


def _told_by_callback(event: sa.Row, channels: set[uuid.UUID]) -> Iterator[tuple[uuid.UUID, uuid.UUID, _Update]]:
    channel_id = uuid.UUID(event.signed_by[0])
    # What another room applies, it keeps under ids of its own finding.
    if channel_id in channels and ingest.task_of(event.provider) == "messages.receive":
        for update in callbacks.read(event.provider, bytes(event.body))[0]:
            yield event.id, channel_id, callbacks.message(update) if isinstance(update, Inbound) else update


INVARIANTS = (
    Invariant("events", "Every stored webhook is applied, put aside, or has a job.", _events_are_looked_after),
    Invariant("inbound messages", "Every message of an applied webhook is here.", _messages_are_here),
    Invariant("inbound statuses", "Every status of an applied webhook is here.", _statuses_are_here),
)
