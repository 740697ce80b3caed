"""Sends whose outcome nobody knows: settled by a status webhook, by the channel's policy, or by a person."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core.errors import Snooze
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState, StatusEvent
from crm_tasks.messages.service import outbox
from crm_tasks.workspaces.models import Channel, UnknownPolicy

log = get_logger(__name__)


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
        return "held"
    if not _echoes_work(session, message):
        raise Snooze(settings().unknown_wait, "no later send on this channel has had its echo yet", code="no_echo")
    message.state = MessageState.QUEUED
    message.job_id = outbox.enqueue_send(session, message)
    log.warning("send.again", message_id=str(message.id))
    return "resent"


def _echoes_work(session: Session, message: Message) -> bool:
    since = message.created_at
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
