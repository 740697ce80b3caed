"""Messages that wait for their time: listed, moved, cancelled. Each is a row and a job until it is due."""

import uuid
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.jobs import repair
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service.outbox import due_at

log = get_logger(__name__)


def listed(
    session: Session,
    workspace_id: uuid.UUID | None = None,
    *,
    after: tuple[datetime, uuid.UUID] | None = None,
    limit: int = 50,
) -> list[Message]:
    """Return messages that are not due yet, the next one first."""
    query = (
        sa.select(Message)
        .where(
            Message.state == sa.literal_column("'queued'"),
            Message.scheduled_for.is_not(None),
            Message.scheduled_for > now(),
        )
        .order_by(Message.scheduled_for, Message.id)
        .limit(limit)
    )
    if workspace_id is not None:
        query = query.where(Message.workspace_id == workspace_id)
    if after is not None:
        query = query.where(sa.tuple_(Message.scheduled_for, Message.id) > after)
    return list(session.scalars(query))


def by_day(session: Session, workspace_id: uuid.UUID, zone: str, *, days: int) -> dict[date, int]:
    """Return how many messages are due on each of the next days of a time zone."""
    day = sa.func.date(sa.func.timezone(zone, Message.scheduled_for))
    query = (
        sa.select(day, sa.func.count())
        .where(
            Message.workspace_id == workspace_id,
            Message.state == sa.literal_column("'queued'"),
            Message.scheduled_for.is_not(None),
            Message.scheduled_for > now(),
            Message.scheduled_for < now() + timedelta(days=days),
        )
        .group_by(sa.text("1"))
    )
    return dict(session.execute(query).all())


def move(
    session: Session, message_id: uuid.UUID, scheduled_for: datetime, *, actor: str, workspace_id: uuid.UUID | None
) -> Message:
    """Send a message at another time; what is past is now.

    Raises:
        NotFound: no such message here. Conflict: it does not wait. Invalid: more than a year ahead.
    """
    message = _waiting(session, message_id, workspace_id)
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    message.scheduled_for = due_at(scheduled_for, moment)
    session.flush()
    repair.move(session, message.job_id, message.scheduled_for or moment, actor=actor)  # type: ignore[arg-type]
    return message


def cancel(session: Session, message_id: uuid.UUID, *, actor: str, workspace_id: uuid.UUID | None) -> Message:
    """Do not send a message that waits.

    Raises:
        NotFound: no such message here. Conflict: it does not wait.
    """
    message = _waiting(session, message_id, workspace_id)
    repair.cancel(session, message.job_id, actor=actor, reason="not to be sent")  # type: ignore[arg-type]
    session.refresh(message)
    return message


def _waiting(session: Session, message_id: uuid.UUID, workspace_id: uuid.UUID | None) -> Message:
    message = session.get(Message, message_id, with_for_update=True, populate_existing=True)
    if message is None or workspace_id not in (None, message.workspace_id):
        raise NotFound(f"There is no message {message_id}.", code="message_not_found")
    if message.state is not MessageState.QUEUED:
        raise Conflict(
            f"The message is {message.state}; only one that waits can be moved or cancelled.", code="not_waiting"
        )
    return message
