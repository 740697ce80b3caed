"""A send of which nobody knows whether it arrived: kept as `unknown`, looked after by `messages.settle`."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core.db import now
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import news

log = get_logger(__name__)


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
