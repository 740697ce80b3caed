"""A send of which nobody knows whether it arrived: kept as `unknown`, looked after by `messages.settle`."""

import uuid
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core.db import now
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import news

log = get_logger(__name__)

# Nobody sends these at this moment: their job is over or waits. It may be held, and would say so only days later.
_FORSAKEN = sa.text("""
    SELECT m.id FROM messages m
    WHERE m.state IN ('planned', 'queued', 'sending', 'unknown') AND m.state = 'sending'
      AND NOT EXISTS (
        SELECT FROM jobs j WHERE j.id = m.job_id AND j.state = 'running' AND j.claim_no = m.claim_no)
    ORDER BY m.id LIMIT :most
""")
_MOST = 500


def begin(session: Session, message: Message, reason: str) -> None:
    """The message may have been sent. A status webhook settles it; if none comes, `messages.settle` looks after it."""
    message.state = MessageState.UNKNOWN
    message.error = {"code": "unknown", "title": reason, "times": (message.error or {}).get("times", 0) + 1}
    log.warning("send.unknown", message_id=str(message.id), reason=reason)
    news.tell_status(session, message)
    enqueue(
        session,
        "messages.settle",
        args={"message_id": message.id},
        workspace_id=message.workspace_id,
        scopes=[f"channel:{message.channel_id}"],
        run_at=session.scalar(sa.select(now() + settings().unknown_wait)),
        unique_key=f"settle:{message.id}",
    )


def forsaken(session: Session) -> int:
    """Take for unknown what a worker was sending that went away while no job goes on with it; return how many."""
    return begin_all(session, session.scalars(_FORSAKEN, {"most": _MOST}).all())


def begin_all(session: Session, message_ids: Iterable[uuid.UUID]) -> int:
    """Take for unknown those of these that are still being sent, as their worker went away; return how many."""
    count = 0
    for message_id in message_ids:
        message = session.get_one(Message, message_id, with_for_update=True, populate_existing=True)
        if message.state is MessageState.SENDING:
            begin(session, message, "its worker went away while it was being sent")
            count += 1
    return count
