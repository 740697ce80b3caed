"""Who answers in a conversation: a person, or what is automatic."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.models import Contact
from crm_tasks.core.db import now
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Conversation
from crm_tasks.messages.service import history, news

log = get_logger(__name__)
Row = tuple[Conversation, Contact | None]


def take_over(session: Session, workspace_id: uuid.UUID, conversation_id: uuid.UUID, *, actor: str) -> Row:
    """Have a person answer: nothing automatic is sent here until the conversation is handed back.

    Raises:
        NotFound: no such conversation here.
    """
    found = history.conversation(session, workspace_id, conversation_id)
    if found[0].human_since is None:
        found[0].human_since, found[0].human_by = session.scalar(sa.select(now())), actor
        _tell(session, found[0])
        log.info("conversation.taken_over", conversation_id=str(conversation_id), actor=actor)
    return found


def hand_back(session: Session, workspace_id: uuid.UUID, conversation_id: uuid.UUID) -> Row:
    """Let what is automatic answer again.

    Raises:
        NotFound: no such conversation here.
    """
    found = history.conversation(session, workspace_id, conversation_id)
    if found[0].human_since is not None:
        found[0].human_since = found[0].human_by = None
        _tell(session, found[0])
    log.info("conversation.handed_back", conversation_id=str(conversation_id))
    return found


def _tell(session: Session, conversation: Conversation) -> None:
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    updated = news.updated(conversation.id, conversation.contact_id, conversation.channel_id, moment)
    news.tell(session, [(conversation.workspace_id, updated)])
