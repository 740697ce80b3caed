"""What may be said, judged when a message is accepted; `gates` judges by the same functions when it is sent.

Outside the 24-hour window only templates may be sent, and of templates only those that the provider approves of.
"""

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Conflict, FieldError, Invalid
from crm_tasks.messages.models import Category, Conversation
from crm_tasks.messages.service.conversations import closes_at
from crm_tasks.providers import registry
from crm_tasks.providers.whatsapp.webhook import words
from crm_tasks.templates import service as templates
from crm_tasks.templates.models import Template
from crm_tasks.workspaces.models import Channel

REMEDY = "Send a template, or name one in `fallback_template`: it is sent instead if the window is closed by then."


def admit(
    session: Session,
    channel: Channel,
    conversation_id: uuid.UUID,
    type: str,
    content: dict[str, Any],
    *,
    fallback: dict[str, Any] | None,
    at: datetime,
) -> None:
    """Refuse what could not be sent at this moment.

    Raises:
        Invalid, Conflict: the template is unknown, may not be sent, or its parameters do not fit. Conflict: the
            window is closed (`window_closed`), and there is no template to send instead.
    """
    if not registry.provider(channel.kind).window:
        return
    if type == "template":
        templates.check(session, channel, content)
        return
    instead = (fallback or {}).get("template")
    if instead is not None:
        _check_fallback(session, channel, instead)
    elif (closed := window_closed(session, conversation_id, at)) is not None:
        raise closed


def window_closed(session: Session, conversation_id: uuid.UUID, at: datetime) -> Conflict | None:
    """Return why free text may not be sent at a moment, ready to be raised; None if it may."""
    row = session.execute(
        sa.select(Conversation.last_inbound_at, Conversation.group_id).where(Conversation.id == conversation_id)
    ).one()
    return None if row.group_id else closed_at(row.last_inbound_at, at)


def closed_at(last_inbound_at: datetime | None, at: datetime) -> Conflict | None:
    """Return why free text may not be sent at a moment after a customer's last message; None if it may."""
    until = closes_at(last_inbound_at)
    if until is not None and at < until:
        return None
    why = f"closed at {until.isoformat(timespec='seconds')}" if until else "is closed, as the customer never wrote"
    text = f"The 24-hour window {why}."
    return Conflict(text, code="window_closed", hint=REMEDY, fields=[FieldError("type", text, "window_closed")])


def described(
    session: Session, channel: Channel, type: str, content: dict[str, Any]
) -> tuple[str | None, Category | None]:
    """Return what a person reads of a message, and what it is for if its template says so."""
    if type != "template":
        return _words(type, content), None
    template = templates.find(session, channel, *templates.named(content))
    return worded(type, content, template), None if template is None else _category(template)


def worded(type: str, content: dict[str, Any], template: Template | None) -> str | None:
    """Return what a person reads of a message, of a template if there is one."""
    if template is None:
        return _words(type, content)
    return templates.render(template, content.get("components"))


def _words(type: str, content: dict[str, Any]) -> str | None:
    if type == "email":
        return content.get("subject")
    return f"[{content.get('name', '')}]" if type == "template" else words(type, content)


def _category(template: Template) -> Category:
    """What the provider calls something new is taken for marketing: nobody gets that who does not want it."""
    return Category(template.category) if template.category in set(Category) else Category.MARKETING


def _check_fallback(session: Session, channel: Channel, template: dict[str, Any]) -> None:
    try:
        templates.check(session, channel, template)
    except (Invalid, Conflict) as error:
        error.fields = tuple(replace(each, field=f"fallback_{each.field}") for each in error.fields)
        raise
