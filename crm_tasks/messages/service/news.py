"""What businesses are told of their messages: thin bodies; the whole is at `/api/v1/messages/{id}`."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.orm import Session

from crm_tasks.messages.models import Message
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import News, publish_many

MAX_TEXT = 1_000


def received(row: Mapping[str, Any]) -> News:
    """Return the news of a customer's message; `row` is what was inserted."""
    names = ("conversation_id", "contact_id", "channel_id", "type", "state", "provider_id", "occurred_at")
    text = row["text"]
    data = {"message_id": row["id"], **{name: row[name] for name in names}, "text": text and text[:MAX_TEXT]}
    return News(EventType.MESSAGE_RECEIVED, data, row["occurred_at"])


def updated(conversation_id: uuid.UUID, contact_id: uuid.UUID | None, channel_id: uuid.UUID, at: datetime) -> News:
    """Return the news that something was said in a conversation."""
    data = {
        "conversation_id": conversation_id,
        "contact_id": contact_id,
        "channel_id": channel_id,
        "occurred_at": at,
    }
    return News(EventType.CONVERSATION_UPDATED, data)


class Told(Protocol):
    """What is told of a message of ours, be it a model or a few of its columns."""

    id: Any
    channel_id: Any
    conversation_id: Any
    contact_id: Any
    provider_id: Any
    state: Any
    error: Any


def status(message: Told, at: datetime | None = None) -> News:
    """Return the news that a message of ours has come to its present state."""
    data = {
        "message_id": message.id,
        "conversation_id": message.conversation_id,
        "contact_id": message.contact_id,
        "channel_id": message.channel_id,
        "state": message.state,
        "provider_id": message.provider_id,
        "error": message.error,
    }
    return News(EventType.MESSAGE_STATUS, data, at)


def tell_status(session: Session, message: Message) -> None:
    """Tell that a message has come to its present state."""
    publish_many(session, message.workspace_id, [status(message)])


def tell(session: Session, told: Iterable[tuple[uuid.UUID, News]]) -> None:
    """Tell news of several workspaces, in order within each."""
    by_workspace: dict[uuid.UUID, list[News]] = {}
    for workspace_id, each in told:
        by_workspace.setdefault(workspace_id, []).append(each)
    for workspace_id in sorted(by_workspace):
        publish_many(session, workspace_id, by_workspace[workspace_id])
