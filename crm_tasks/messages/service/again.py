"""Said once more: a message that the provider took and later reported as failed, in a way that another try may mend.

A new message takes its place (`fallback_of`), so that no report of the first can be mistaken for one of the second.
Only after a definite failure, and once: the message's row is locked by who applies the report.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import DomainError
from crm_tasks.core.jobs.enqueue import current_trace
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import outbox
from crm_tasks.providers.provider import Refusal
from crm_tasks.providers.whatsapp import errors
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

NEXT_DAY = timedelta(hours=24)
# What waits for the next day is nobody's answer: replies go first.
_PRIORITY = 5


def say(session: Session, channel: Channel, message: Message, no: Refusal) -> Message | None:
    """Say a failed message again where its failure allows that; None if it does not, or if it has been done."""
    if message.state is not MessageState.FAILED or _done(session, message):
        return None
    if no.code == errors.WINDOW_CLOSED:
        return _by_template(session, channel, message)
    if no.code == errors.TOO_MUCH_MARKETING and not _was_repeated(session, message):
        due: datetime = session.scalar(sa.select(now() + NEXT_DAY))  # type: ignore[assignment]
        return _sent(session, channel, message, message.type, message.content, message.fallback, due)
    return None


def _by_template(session: Session, channel: Channel, message: Message) -> Message | None:
    """Send the template that was named for a closed window; the provider closed it earlier than we knew."""
    rest = dict(message.fallback or {})
    template = rest.pop("template", None)
    if template is None:
        return None
    return _sent(session, channel, message, "template", template, rest or None)


def _sent(
    session: Session,
    channel: Channel,
    message: Message,
    type: str,
    content: dict[str, Any],
    fallback: dict[str, Any] | None,
    due: datetime | None = None,
) -> Message | None:
    new = outbox.NewMessage(
        type=type,
        content=content,
        context_id=message.context_provider_id,
        author=message.author,
        priority=_PRIORITY,
        category=message.category,
        scheduled_for=due,
        fallback=fallback,
        fallback_of=message.id,
    )
    # Its own story and not that of the report: it is told, and found, by its trace.
    token = current_trace.set(_trace(message))
    try:
        with session.begin_nested():
            taken = outbox.send_in(session, channel, message.conversation_id, message.contact_id, new)
    except DomainError as error:
        log.warning("send.again_not_possible", message_id=str(message.id), code=error.code)
        return None
    finally:
        current_trace.reset(token)
    log.info("send.said_again", message_id=str(message.id), by=str(taken.id), type=type)
    return taken


def _done(session: Session, message: Message) -> bool:
    query = sa.select(Message.id).where(Message.trace_id == _trace(message), Message.fallback_of == message.id)
    return session.scalar(query.limit(1)) is not None


def _was_repeated(session: Session, message: Message) -> bool:
    """Say whether a message is itself the second try after the same no."""
    first = session.get(Message, message.fallback_of) if message.fallback_of else None
    return first is not None and (first.error or {}).get("code") == errors.TOO_MUCH_MARKETING


def _trace(message: Message) -> Any:
    return message.trace_id or message.id
