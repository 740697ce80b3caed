"""The usual statuses, many at once: each the first of its kind, of a message that its provider has accepted.

Its answer may still be on its way to us: then the message is known by the id of ours that comes back with the status.

What is kept is the same as if each had been applied for itself, as `statuses` does with all others: the same `reports`
decide, and only the statements are fewer.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.core.db import driver, dumps
from crm_tasks.messages.models import ERASED, Message, MessageState
from crm_tasks.messages.service import news, reports
from crm_tasks.providers.whatsapp.webhook import Status
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import News, anyone_wants, publish_many
from crm_tasks.workspaces.models import Channel

_WELL = frozenset(
    {MessageState.ACCEPTED, MessageState.SENT, MessageState.DELIVERED, MessageState.READ, MessageState.PLAYED}
)
_LOCK = """
    SELECT id, workspace_id, channel_id, conversation_id, contact_id, provider_id, state,
        sent_at, delivered_at, read_at, played_at,
        coalesce(error, 'null') = 'null' AND content <> %(erased)s::jsonb
    FROM messages
    WHERE channel_id = %(channel)s AND direction = 'out'
      AND (provider_id = ANY(%(names)b::text[]) OR id = ANY(%(ids)b::uuid[]))
    ORDER BY id FOR UPDATE
"""
_KEEP = """
    INSERT INTO status_events
        (id, workspace_id, channel_id, message_id, provider_id, status, recipient, occurred_at, event_id, detail)
    SELECT given.id, %(workspace)s, %(channel)s, message_id, provider_id, status, recipient, occurred_at, event_id,
        detail::jsonb
    FROM unnest(%(id)b::uuid[], %(message_id)b::uuid[], %(provider_id)b::text[], %(status)b::text[],
                %(recipient)b::text[], %(occurred_at)b::timestamptz[], %(event_id)b::uuid[], %(detail)b::text[])
        AS given(id, message_id, provider_id, status, recipient, occurred_at, event_id, detail)
"""
_RAISE = """
    UPDATE messages SET provider_id = given.provider_id, state = given.state, sent_at = given.sent_at,
        delivered_at = given.delivered_at, read_at = given.read_at, played_at = given.played_at
    FROM unnest(%(id)b::uuid[], %(provider_id)b::text[], %(state)b::text[], %(sent_at)b::timestamptz[],
                %(delivered_at)b::timestamptz[], %(read_at)b::timestamptz[], %(played_at)b::timestamptz[])
        AS given(id, provider_id, state, sent_at, delivered_at, read_at, played_at)
    WHERE messages.id = given.id
"""
_KEPT = ("id", "message_id", "provider_id", "status", "recipient", "occurred_at", "event_id", "detail")
_RAISED = ("id", "provider_id", "state", "sent_at", "delivered_at", "read_at", "played_at")


@dataclass(slots=True)
class _Known:
    """What reports change of a message and what is told of it; `plain` if nothing is wrong with it or hidden in it."""

    id: uuid.UUID
    workspace_id: uuid.UUID
    channel_id: uuid.UUID
    conversation_id: uuid.UUID
    contact_id: uuid.UUID | None
    provider_id: str | None
    state: MessageState
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    played_at: datetime | None
    plain: bool
    error: None = None


def apply(
    session: Session, channel: Channel, reported: Sequence[tuple[Status, uuid.UUID]]
) -> list[tuple[Status, uuid.UUID]]:
    """Apply the usual ones among statuses of one channel; return the others, all of a message or none of it.

    All messages meant are locked in the order of their ids, those of the others too.
    """
    messages = _lock(session, channel.id, [status for status, _ in reported])
    about = [messages.get(status.id) or messages.get(reports.own_id(status.callback_data)) for status, _ in reported]
    doubtful = _doubtful(reported, about)
    usual, others = [], []
    for (status, event_id), message in zip(reported, about, strict=True):
        if message is None or message.id in doubtful:
            others.append((status, event_id))
        else:
            usual.append((status, event_id, message))
    if usual:
        _apply(session, channel, usual)
    return others


def _lock(session: Session, channel_id: uuid.UUID, statuses: Iterable[Status]) -> dict[Any, _Known]:
    """Return the messages meant, by their id and by their provider id."""
    session.flush()
    values = {
        "channel": channel_id,
        "names": list({status.id for status in statuses}),
        "ids": list({made for status in statuses if (made := reports.own_id(status.callback_data))}),
        "erased": dumps(ERASED),
    }
    found: dict[Any, _Known] = {}
    for row in driver(session).execute(_LOCK, values):
        message = _Known(*row)
        message.state = MessageState(message.state)
        found[message.id] = message
        if message.provider_id is not None:
            found[message.provider_id] = message
    return found


def _doubtful(reported: Iterable[tuple[Status, uuid.UUID]], about: Iterable[_Known | None]) -> set[uuid.UUID]:
    """Return the messages of which something unusual is reported: twice the same, under two names, …"""
    found: set[uuid.UUID] = set()
    seen: set[tuple[uuid.UUID, str]] = set()
    names: dict[uuid.UUID, str] = {}
    for (status, _), message in zip(reported, about, strict=True):
        if message is None:
            continue
        twice = (message.id, status.status) in seen
        seen.add((message.id, status.status))
        if twice or names.setdefault(message.id, status.id) != status.id or not _is_usual(status, message):
            found.add(message.id)
    return found


def _is_usual(status: Status, message: _Known) -> bool:
    known = message.state in _WELL and message.provider_id == status.id
    on_its_way = message.state is MessageState.SENDING and message.provider_id is None
    return (
        message.plain
        and (known or (on_its_way and status.id != str(message.id)))
        and status.at is not None
        and status.status != MessageState.FAILED
        and "verdict" not in status.detail
        and reports.is_first(status, message)
    )


def _apply(session: Session, channel: Channel, usual: Iterable[tuple[Status, uuid.UUID, _Known]]) -> None:
    wanted = anyone_wants(session, channel.workspace_id, EventType.MESSAGE_STATUS)
    rows: list[dict[str, Any]] = []
    told: list[News] = []
    raised: dict[uuid.UUID, _Known] = {}
    for status, event_id, message in sorted(usual, key=lambda item: (item[0].at, item[0].id)):
        assert status.at is not None
        row = reports.row(channel, status, event_id, message.id, status.at)
        rows.append(row | {"detail": dumps(status.detail)})
        raised[message.id] = message
        if reports.show(message, row) and wanted:
            told.append(news.status(message, row["occurred_at"]))
    connection = driver(session)
    kept: dict[str, Any] = {name: [row[name] for row in rows] for name in _KEPT}
    connection.execute(_KEEP, {"workspace": channel.workspace_id, "channel": channel.id, **kept})
    connection.execute(_RAISE, {name: [getattr(each, name) for each in raised.values()] for name in _RAISED})
    for loaded in session.identity_map.values():
        if isinstance(loaded, Message) and loaded.id in raised:
            session.expire(loaded)  # what the session knew of it is no longer so
    if told:
        publish_many(session, channel.workspace_id, told)
