"""Messages that people send to see whether a channel works: sent like every other, but what was said on the way to the
provider and back is kept with them.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import NotFound
from crm_tasks.messages.models import Message, MessageState

AUTHOR = "test"
# Exchanges that are kept: each attempt has one.
MOST = 10
# After which the provider may still report, but nothing is decided any more.
FINAL = frozenset(
    {
        *(MessageState.DELIVERED, MessageState.READ, MessageState.PLAYED, MessageState.FAILED),
        *(MessageState.SUPPRESSED, MessageState.UNKNOWN, MessageState.CANCELLED),
    }
)


def keep(session: Session, message_id: uuid.UUID, said: Sequence[dict[str, Any]]) -> None:
    """Keep exchanges with a provider beside those there are."""
    found = session.get(Message, message_id, with_for_update=True)
    if found is not None and found.author == AUTHOR:
        found.raw = {"exchanges": [*exchanges(found), *said][-MOST:]}


def exchanges(message: Message) -> list[dict[str, Any]]:
    """Return what was said, the oldest first."""
    return list((message.raw or {}).get("exchanges", ()))


def get(session: Session, workspace_id: uuid.UUID, message_id: uuid.UUID) -> Message:
    """Return a test message of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    query = sa.select(Message).where(
        Message.id == message_id, Message.workspace_id == workspace_id, Message.author == AUTHOR
    )
    found = session.scalar(query)
    if found is None:
        raise NotFound(f"There is no test message {message_id}.", code="message_not_found")
    return found
