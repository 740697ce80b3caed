"""Sends whose outcome nobody knows: settled by a status webhook, by the channel's policy, or by a person."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, NotFound, Snooze
from crm_tasks.core.jobs.model import Job
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState, StatusEvent
from crm_tasks.messages.service import news, outbox
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.workspaces.models import Channel, UnknownPolicy

log = get_logger(__name__)


class Decision(StrEnum):
    """What a person may do with an unknown."""

    RESEND = "resend"
    FAILED = "failed"


def settle(session: Session, message_id: uuid.UUID) -> str:
    """Decide about a message that is still unknown after the wait, and return what was decided.

    Policy `hold` leaves it to a person. Policy `resend` sends it again, but only once echoes of later sends on the
    channel have come: until then their absence proves nothing.

    Raises:
        Snooze: there is no such proof yet.
    """
    message = session.get(Message, message_id, with_for_update=True)
    if message is None or message.state is not MessageState.UNKNOWN:
        return "settled"
    channel = session.get_one(Channel, message.channel_id)
    if channel.unknown_policy is UnknownPolicy.HOLD:
        log.warning("send.waits_for_a_person", message_id=str(message.id))
        _tell(session, message, channel)
        return "held"
    if not _echoes_work(session, message):
        raise Snooze(settings().unknown_wait, "no later send on this channel has had its echo yet", code="no_echo")
    _resend(session, message)
    return "resent"


def _tell(session: Session, message: Message, channel: Channel) -> None:
    notifications.notify(
        session,
        message.workspace_id,
        "sends.unknown",
        title=f"Messages of {channel.name} wait for a decision",
        text="They left without an answer and may have arrived. Look at the phone or ask the customer, then decide: "
        "`crm message unknown` lists them, `crm message settle ID --as resend` or `--as failed`.",
        severity=Severity.WARNING,
        subject=f"channel:{message.channel_id}",
        link="/admin/",
    )


def waiting(
    session: Session, workspace_id: uuid.UUID | None = None, *, before: uuid.UUID | None = None, limit: int = 50
) -> list[Message]:
    """Return messages that are unknown, the newest first."""
    query = sa.select(Message).where(Message.state == MessageState.UNKNOWN).order_by(Message.id.desc()).limit(limit)
    if workspace_id is not None:
        query = query.where(Message.workspace_id == workspace_id)
    return list(session.scalars(query.where(Message.id < before) if before else query))


def decide(
    session: Session, message_id: uuid.UUID, how: Decision, *, actor: str, workspace_id: uuid.UUID | None = None
) -> Message:
    """Let a person decide about an unknown: send it again, or take it for failed. A later status still corrects it.

    Raises:
        NotFound: no such message here. Conflict: it is not unknown.
    """
    message = session.get(Message, message_id, with_for_update=True, populate_existing=True)
    if message is None or workspace_id not in (None, message.workspace_id):
        raise NotFound(f"There is no message {message_id}.", code="message_not_found")
    if message.state is not MessageState.UNKNOWN:
        raise Conflict(f"The message is {message.state}; only an unknown one waits for a decision.", code="not_unknown")
    log.warning("send.decided", message_id=str(message.id), actor=actor, decision=how)
    if how is Decision.RESEND:
        _resend(session, message)
    else:
        message.state, message.failed_at = MessageState.FAILED, session.scalar(sa.select(now()))
        news.tell_status(session, message)
    return message


def _resend(session: Session, message: Message) -> None:
    message.state = MessageState.QUEUED
    message.job_id = outbox.enqueue_send(session, message, outbox.provider_of(session, message))
    log.warning("send.again", message_id=str(message.id))


def _echoes_work(session: Session, message: Message) -> bool:
    # What left after it: of earlier sends the echoes say nothing about how it is now.
    sent_by = session.get(Job, message.job_id) if message.job_id else None
    since = (sent_by and sent_by.started_at) or message.created_at
    later = sa.select(StatusEvent.id).where(
        StatusEvent.channel_id == message.channel_id,
        StatusEvent.event_id.is_not(None),
        StatusEvent.created_at > since,
        StatusEvent.message_id.in_(
            sa.select(Message.id).where(
                Message.channel_id == message.channel_id, Message.accepted_at > since, Message.id != message.id
            )
        ),
    )
    return session.scalar(later.limit(1)) is not None
