"""Customers who want no more marketing, or want it again: by a word, by a button, or by a switch in WhatsApp.

All of it ends in the one list of suppressions, with what proves it, in the transaction of the event. The newest word
of a person counts, in whatever order events come.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.contacts import service as contacts
from crm_tasks.contacts import suppression
from crm_tasks.contacts.keywords import Wish, wish
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.messages.models import InboundEvent
from crm_tasks.messages.service import outbox
from crm_tasks.providers import registry
from crm_tasks.providers.whatsapp.webhook import InboundMessage, Preference
from crm_tasks.workspaces.models import Channel, Policy

POLICY = "keywords"
# Who stops SMS gets none at all, as networks have it; who starts again, all of them.
_SCOPES = {
    ("sms", Wish.STOP): (SuppressionScope.ALL,),
    ("sms", Wish.START): (SuppressionScope.ALL, SuppressionScope.MARKETING),
}
# Where a tapped button says what it means, by the type of its message.
_BUTTONS = ("button", "interactive")


@dataclass(frozen=True, slots=True)
class Where:
    """The message that was heard, and in which conversation."""

    contact_id: uuid.UUID
    conversation_id: uuid.UUID
    message_id: uuid.UUID


def heard(session: Session, channel: Channel, update: InboundMessage, where: Where, *, at: datetime) -> bool:
    """Take a message that is a stop or start word and nothing else for what it asks; True if it asks to stop."""
    if update.group_id or update.type not in ("text", *_BUTTONS):
        return False
    rules = _rules(session, channel.workspace_id)
    wishes = ((text, wish(text, stop=rules.get("stop"), start=rules.get("start"))) for text in _said(update))
    text, wanted = next(((text, found) for text, found in wishes if found), ("", None))
    if wanted is None:
        return False
    before = suppression.of_contact(session, channel.workspace_id, where.contact_id)
    evidence = {"message_id": str(where.message_id), "provider_id": update.id, "word": text}
    medium = registry.provider(channel.kind).medium
    _note(session, channel.workspace_id, where.contact_id, medium, wanted, "keyword", evidence, at)
    if wanted is Wish.STOP and not before and rules.get("confirmation"):
        content = {"body": str(rules["confirmation"])}
        new = outbox.NewMessage(type="text", content=content, author="system", priority=2)
        outbox.send_in(session, channel, where.conversation_id, where.contact_id, new)
    return wanted is Wish.STOP


def preferred(
    session: Session, channel: Channel, update: Preference, names: contacts.Names, event: InboundEvent
) -> None:
    """Keep what a customer has switched in WhatsApp itself (Meta, webhook `user_preferences`)."""
    at = update.at or event.received_at
    contact_id = contacts.resolve(session, channel.workspace_id, names, at=at)
    wanted = Wish.STOP if update.stops else Wish.START
    evidence = {"event_id": str(event.id), "webhook": update.raw}
    _note(session, channel.workspace_id, contact_id, "whatsapp", wanted, "user_preferences", evidence, at)


def _note(
    session: Session,
    workspace_id: uuid.UUID,
    contact_id: uuid.UUID,
    medium: str,
    wanted: Wish,
    reason: str,
    evidence: dict[str, Any],
    at: datetime,
) -> None:
    note = suppression.suppress_contact if wanted is Wish.STOP else suppression.allow_contact
    for scope in _SCOPES.get((medium, wanted), (SuppressionScope.MARKETING,)):
        note(
            session,
            workspace_id,
            contact_id,
            medium=medium,
            scope=scope,
            reason=reason,
            actor="customer",
            evidence=evidence,
            at=at,
        )


def _rules(session: Session, workspace_id: uuid.UUID) -> dict[str, Any]:
    """Return the words of a workspace, asked for once in a batch of events."""
    known: dict[uuid.UUID, dict[str, Any]] = session.info.setdefault("keywords", {})
    if workspace_id not in known:
        policy = session.get(Policy, (workspace_id, POLICY))
        known[workspace_id] = policy.value if policy else {}
    return known[workspace_id]


def _said(update: InboundMessage) -> Iterator[str]:
    """Yield what a message says in a word: its text, and of a button its payload too."""
    reply = update.content
    if update.type == "interactive":
        inner = reply.get("button_reply")
        reply = inner if isinstance(inner, dict) else {}
    named = (reply.get(key) for key in ("payload", "id")) if update.type in _BUTTONS else ()
    yield from (text for text in (update.text, *named) if isinstance(text, str))
