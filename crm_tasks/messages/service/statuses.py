"""Statuses, as providers report them: in any order, more than once, sometimes before we know the message.

The state of a message is the furthest that any report says; a report for a message that is not here yet is parked
and applied when it comes.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.messages.models import ERASED, Direction, Message, MessageState, StatusEvent
from crm_tasks.messages.service import failures, news, reports, usual, verdicts
from crm_tasks.messages.service.reports import Key, own_id
from crm_tasks.providers.whatsapp.webhook import Status
from crm_tasks.webhooks.service.publishing import News
from crm_tasks.workspaces.models import Channel

Reported = Sequence[tuple[Status, uuid.UUID]]


def apply(session: Session, channel: Channel, reported: Reported) -> None:
    """Apply statuses of one channel, all messages locked in the order of their ids: the usual set by set."""
    unusual = usual.apply(session, channel, reported)
    if unusual:
        apply_each(session, channel, unusual)


def apply_each(session: Session, channel: Channel, reported: Reported) -> None:
    """Apply statuses of one channel, each for itself."""
    messages = _lock(session, channel.id, [status for status, _ in reported])
    missing = sorted({status.id for status, _ in reported if _message_of(status, messages) is None})
    if missing:
        for provider_id in missing:
            _serialise(session, provider_id)
        messages |= _lock(session, channel.id, [status for status, _ in reported if status.id in missing])
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    known = _known(session, channel.id, reported, messages)
    rows: list[dict[str, Any]] = []
    heeded: list[tuple[Message, dict[str, Any]]] = []
    told: list[tuple[uuid.UUID, News]] = []
    for status, event_id in sorted(reported, key=lambda item: (item[0].at or moment, item[0].id)):
        message = _message_of(status, messages)
        message_id, erased = (message.id, message.content == ERASED) if message else (None, False)
        row = reports.row(channel, status, event_id, message_id, moment, erased=erased)
        is_new = reports.key(status) not in known
        if is_new:
            known.add(reports.key(status))
            rows.append(row)
        if message is None:
            continue
        if is_new:
            heeded.append((message, row))
        if reports.show(message, row):
            told.append((message.workspace_id, news.status(message, row["occurred_at"])))
    if rows:
        session.execute(insert(StatusEvent), rows)
    session.flush()
    news.tell(session, told)
    for message, row in heeded:
        _heed(session, channel, message, row)


def apply_parked(session: Session, channel_id: uuid.UUID, provider_id: str) -> None:
    """Apply what was reported of a message before we knew its provider id."""
    _serialise(session, provider_id)
    parked = session.scalars(
        sa.select(StatusEvent)
        .where(
            StatusEvent.channel_id == channel_id,
            StatusEvent.provider_id == provider_id,
            StatusEvent.message_id.is_(None),
        )
        .order_by(StatusEvent.occurred_at, StatusEvent.id)
    ).all()
    if not parked:
        return
    message = session.scalars(
        sa.select(Message)
        .where(Message.channel_id == channel_id, Message.provider_id == provider_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    told = []
    names = ("status", "recipient", "occurred_at", "event_id", "detail")
    rows = [{name: getattr(event, name) for name in names} for event in parked]
    for event, row in zip(parked, rows, strict=True):
        event.message_id = message.id
        if reports.show(message, row):
            told.append((message.workspace_id, news.status(message, event.occurred_at)))
    session.flush()
    news.tell(session, told)
    channel = session.get_one(Channel, channel_id)
    for row in rows:
        _heed(session, channel, message, row)


def _lock(session: Session, channel_id: uuid.UUID, statuses: Iterable[Status]) -> dict[Any, Message]:
    """Return the messages meant, by their id and by their provider id."""
    ids = {made for status in statuses if (made := own_id(status.callback_data))}
    provider_ids = {status.id for status in statuses}
    query = (
        sa.select(Message)
        .where(
            Message.channel_id == channel_id,
            Message.direction == Direction.OUT,
            sa.or_(Message.provider_id.in_(provider_ids), Message.id.in_(ids)),
        )
        .order_by(Message.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    found: dict[Any, Message] = {}
    for message in session.scalars(query):
        found[message.id] = message
        if message.provider_id is not None:
            found[message.provider_id] = message
    return found


def _message_of(status: Status, messages: dict[Any, Message]) -> Message | None:
    return messages.get(status.id) or messages.get(own_id(status.callback_data))


def _serialise(session: Session, provider_id: str) -> None:
    """Make the report of a message and the record of its sending take turns: one of them then sees the other."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"status:{provider_id}"))))


def _known(session: Session, channel_id: uuid.UUID, reported: Reported, messages: dict[Any, Message]) -> set[Key]:
    """Return which of these were reported before. The first of its kind, the common case, asks nobody."""
    doubtful = {status.id for status, _ in reported if not reports.is_first(status, _message_of(status, messages))}
    if not doubtful:
        return set()
    verdict = StatusEvent.detail["verdict"].astext
    query = sa.select(StatusEvent.provider_id, StatusEvent.status, StatusEvent.recipient, verdict).where(
        StatusEvent.channel_id == channel_id, StatusEvent.provider_id.in_(doubtful)
    )
    return {(row[0], row[1], row[2], row[3]) for row in session.execute(query)}


def _heed(session: Session, channel: Channel, message: Message, row: dict[str, Any]) -> None:
    """Do what follows from a report, once."""
    verdicts.heed(session, message, row)
    if row["status"] == MessageState.FAILED:
        failures.reported(session, channel, message, reports.error_of(row["detail"]), at=row["occurred_at"])
