"""Another way to say it: the next channel of a message that a provider has definitely refused for its person.

Never for a message that is unknown, as it may have arrived.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.models import Identity
from crm_tasks.core.errors import DomainError, FieldError, Invalid
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import attachments, outbox
from crm_tasks.messages.service.conversations import conversation
from crm_tasks.providers import registry
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)


def check(session: Session, workspace_id: uuid.UUID, channels: Sequence[dict[str, Any]]) -> None:
    """Refuse a way out that could never be taken.

    Raises:
        Invalid, NotFound: no such channel here, or it sends no such type, or not so much text.
    """
    for position, way in enumerate(channels):
        channel = workspaces.channel(session, workspace_id, uuid.UUID(way["channel_id"]))
        provider = registry.provider(channel.kind)
        kinds = provider.types
        if way["type"] not in kinds:
            field = f"fallback.channels.{position}.type"
            raise Invalid(
                f"A channel of kind {channel.kind} sends no {way['type']}.",
                code="type_not_supported",
                fields=[FieldError(field, f"Use one of: {', '.join(kinds)}.")],
            )
        if provider.measure:
            provider.measure(way["content"])
        attachments.checked(session, channel, way["type"], way["content"])
        if way["type"] == "email":
            _check_email(position, way["content"])


def _check_email(position: int, content: dict[str, Any]) -> None:
    if unready := {"template", "attachments"} & content.keys():
        field = f"fallback.channels.{position}.email.{min(unready)}"
        remedy = "Give `subject` and `html`: in another message's place there is no template and no file."
        raise Invalid("This e-mail cannot take another message's place.", fields=[FieldError(field, remedy)])


def take(session: Session, message: Message) -> Message | None:
    """Say it on the next channel by which this person can be reached, once; None if there is none."""
    ways = list((message.fallback or {}).get("channels") or ())
    message.fallback = None
    while ways:
        way = ways.pop(0)
        channel = session.get(Channel, uuid.UUID(way["channel_id"]))
        if channel is None or channel.workspace_id != message.workspace_id or message.contact_id is None:
            continue
        if not _reaches(session, channel, message.contact_id):
            continue
        new = outbox.NewMessage(
            type=way["type"],
            content=way["content"],
            author=message.author,
            category=message.category,
            fallback={"channels": ways} if ways else None,
            fallback_of=message.id,
        )
        try:
            with session.begin_nested():
                where = conversation(session, channel, message.contact_id)
                taken = outbox.send_in(session, channel, where, message.contact_id, new)
        except DomainError as error:
            log.warning("send.fallback_not_possible", message_id=str(message.id), kind=channel.kind, code=error.code)
            continue
        log.info("send.fallback", message_id=str(message.id), by=str(taken.id), kind=channel.kind)
        return taken
    return None


def _reaches(session: Session, channel: Channel, contact_id: uuid.UUID) -> bool:
    query = sa.select(Identity.id).where(
        Identity.contact_id == contact_id,
        Identity.retired_at.is_(None),
        Identity.kind.in_(registry.provider(channel.kind).reaches),
    )
    return session.scalar(query.limit(1)) is not None
