"""Keeping templates as the provider has them: its list is the truth, its webhooks keep it true in between."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, object_session

from crm_tasks.core.db import now
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.providers.provider import Sender
from crm_tasks.providers.whatsapp.templates import COMPONENTS_UPDATE, Change, Listed
from crm_tasks.templates import shape
from crm_tasks.templates.models import APPROVED, DELETED, Template
from crm_tasks.templates.service import ask_sync, of
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

# What people are told of: nothing is sent with it until somebody has dealt with it.
_STOPPED = ("PAUSED", "REJECTED", "DISABLED")
# What a webhook may call a template that goes on being sent: the list says what holds.
_ASK_AGAIN = ("FLAGGED", "REINSTATED", "UNARCHIVED", "UNPAUSED")


@dataclass(frozen=True, slots=True)
class Fetch:
    """What is needed to ask for a list, and when that was begun: what is newer than this stays."""

    account: Sender
    began_at: datetime


def begin(session: Session, channel_id: uuid.UUID) -> Fetch | None:
    """Return whom to ask; None if the channel is gone or has no account."""
    channel = session.get(Channel, channel_id)
    if channel is None or not channel.waba_id:
        return None
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    return Fetch(workspaces.sender(channel), moment)


def apply_list(session: Session, channel_id: uuid.UUID, fetch: Fetch, found: Iterable[Listed]) -> dict[str, int]:
    """Make the table what the provider listed; what a later webhook said stays, what is gone becomes DELETED."""
    channel = session.get_one(Channel, channel_id)
    rows = session.scalars(sa.select(Template).where(of(channel)).order_by(Template.id).with_for_update())
    known = {(row.name, row.language): row for row in rows}
    counts = {"listed": 0, "new": 0, "deleted": 0}
    for item in found:
        counts["listed"] += 1
        row = known.pop((item.name, item.language), None)
        if row is None:
            counts["new"] += 1
            _insert(session, channel, item, fetch.began_at)
        else:
            _take(row, item, fetch.began_at)
    for row in known.values():
        if row.status != DELETED and row.status_at <= fetch.began_at:
            counts["deleted"] += 1
            _set_status(row, DELETED, None, fetch.began_at)
    return counts


def _insert(session: Session, channel: Channel, item: Listed, at: datetime) -> None:
    statement = insert(Template).values(
        id=new_id(),
        workspace_id=channel.workspace_id,
        waba_id=channel.waba_id,
        provider_id=item.id,
        name=item.name,
        language=item.language,
        category=item.category,
        status=item.status,
        quality=item.quality,
        reason=item.reason,
        components=item.components,
        parameter_format=item.parameter_format,
        parameters=shape.wanted(item.components),
        status_at=at,
        quality_at=at,
        category_at=at,
        components_at=at,
        synced_at=at,
    )
    session.execute(statement.on_conflict_do_nothing())


def _take(row: Template, item: Listed, at: datetime) -> None:
    row.provider_id, row.parameter_format = item.id, item.parameter_format
    row.synced_at = max(row.synced_at, at)
    if row.status_at <= at:
        # The list gives no reason for a pause, so the webhook's is kept as long as the status is.
        _set_status(row, item.status, item.reason or (row.reason if row.status == item.status else None), at)
    if row.quality_at <= at:
        row.quality, row.quality_at = item.quality, at
    if row.category_at <= at:
        row.category, row.category_at = item.category, at
    if row.components_at <= at:
        row.components, row.components_at = item.components, at
        row.parameters = shape.wanted(item.components)


# --- the provider's webhooks -------------------------------------------------------------------------------------


def apply_change(session: Session, channel: Channel, field: str, change: Change, *, at: datetime) -> None:
    """Apply what a webhook says about a template, in any order: of each aspect the newest word counts.

    One that we do not have yet, and a change that a webhook only hints at, make us ask for the list.
    """
    query = sa.select(Template).where(of(channel), Template.name == change.name, Template.language == change.language)
    row = session.scalar(query.with_for_update())
    if row is None or change.status in _ASK_AGAIN or field == COMPONENTS_UPDATE:
        ask_sync(session, channel)
    if row is None:
        return
    if change.status and _newer(at, change.status, row.status_at, row.status):
        _set_status(row, change.status, change.reason, at)
    if change.quality and _newer(at, change.quality, row.quality_at, row.quality):
        row.quality, row.quality_at = change.quality, at
    if change.category and _newer(at, change.category, row.category_at, row.category):
        row.category, row.category_at = change.category, at
    if change.texts and at > row.components_at:
        row.components = [_reworded(part, change.texts) for part in row.components]
        row.parameters, row.components_at = shape.wanted(row.components), at


def _newer(at: datetime, word: str, known_at: datetime, known: str | None) -> bool:
    """Of two words from the same second the greater counts, so that order does not matter: never APPROVED."""
    return (at, word) > (known_at, known or "")


def _reworded(part: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    text = texts.get(str(part.get("type", "")).upper())
    return {**part, "text": text} if text and "text" in part else part


def _set_status(row: Template, status: str, reason: str | None, at: datetime) -> None:
    """Give a template its status. Every change of a status comes through here: people are told from here."""
    before, row.status, row.reason, row.status_at = row.status, status, reason, at
    if status == before:
        return
    _tell(row)
    record = log.info if status == APPROVED else log.warning
    record("template.status", template=row.name, language=row.language, status=status, before=before, reason=reason)


def _tell(row: Template) -> None:
    """Tell the business's own systems of a new status, and its people of one that stops sending."""
    session = object_session(row)
    assert session is not None
    data = {name: getattr(row, name) for name in ("name", "language", "category", "status", "reason")}
    publish(session, row.workspace_id, EventType.TEMPLATE_UPDATED, {"template_id": row.id, **data}, at=row.status_at)
    if row.status in _STOPPED:
        notifications.notify(
            session,
            row.workspace_id,
            "template.stopped",
            title=f"The template {row.name} ({row.language}) is {row.status.lower()}",
            text=f"{row.reason or 'The provider gives no reason'}. Until it is approved nothing is sent with it.",
            severity=Severity.WARNING,
            subject=f"template:{row.id}",
        )
