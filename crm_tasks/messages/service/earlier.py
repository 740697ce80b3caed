"""The calls that earlier systems had for one SMS or mail, now or later, in today's terms."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import FieldError, Forbidden, Invalid
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import outbox
from crm_tasks.providers import registry
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

SendTo = Callable[[Session, uuid.UUID, uuid.UUID, str, outbox.NewMessage], Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What such a call says.

    Args:
        medium: `sms` or `email`.
        their_workspace_id, their_contact_id: ids of the caller's own, which its gateway knows: passed on as they are.
        delay: how long from now; `scheduled_for` counts if both are given.
    """

    medium: str
    to: str
    content: dict[str, Any]
    their_workspace_id: str
    their_contact_id: str
    delay: timedelta | None = None
    scheduled_for: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    channel_id: uuid.UUID | None = None


def accept(session: Session, workspace_id: uuid.UUID, order: Order, *, send_to: SendTo) -> Message:
    """Accept one SMS or mail.

    Args:
        send_to: what accepts a message of this medium.

    Raises:
        Forbidden: the workspace named is another. Invalid: no channel that can send it, or not a recipient, or too
            much text, or too far ahead. NotFound: no such channel here.
    """
    _check_workspace(workspace_id, order.their_workspace_id)
    channel = _channel(session, workspace_id, order)
    due = order.scheduled_for
    if due is None and order.delay:
        due = session.scalar(sa.select(now() + order.delay))
    new = outbox.NewMessage(
        type=registry.provider(channel.kind).types[0],
        content=order.content,
        scheduled_for=due,
        metadata=order.metadata or None,
        external={"contactId": order.their_contact_id, "workspaceId": order.their_workspace_id},
    )
    return send_to(session, workspace_id, channel.id, order.to, new)


def _check_workspace(workspace_id: uuid.UUID, named: str) -> None:
    """Refuse the id of another workspace. What is no id of ours is the caller's own name for it: the key decides."""
    try:
        other = uuid.UUID(named) != workspace_id
    except ValueError:
        return
    if other:
        raise Forbidden(
            "This API key is not of the workspace that is named.",
            code="other_workspace",
            fields=[FieldError("workspaceId", "Name the workspace of the key, or use its key.")],
        )


def _channel(session: Session, workspace_id: uuid.UUID, order: Order) -> Channel:
    """Return the channel that is named, or else the oldest of the medium."""
    if order.channel_id is not None:
        found = workspaces.channel(session, workspace_id, order.channel_id)
        if registry.provider(found.kind).medium == order.medium:
            return found
        remedy = f"Name a channel for {order.medium}, or leave it out."
        raise Invalid(
            f"The channel {found.name} is of kind {found.kind}.",
            fields=[FieldError("channelId", remedy, "other_medium")],
        )
    for found in workspaces.channels(session, workspace_id):
        if registry.provider(found.kind).medium == order.medium:
            return found
    raise Invalid(
        f"This workspace has no channel for {order.medium}.",
        code="no_channel",
        hint="`crm channel kinds` lists what there is, `crm channel add` adds one.",
    )
