"""What a failure says beside "not this message": of the person, of the template, of our own table of errors.

Told at once by the answer to a send, or later by a status webhook: the same follows from both.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import service as contacts
from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Conversation, Message, MessageState
from crm_tasks.messages.service import again, fallback, verdicts
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Action, Refusal
from crm_tasks.providers.whatsapp import errors
from crm_tasks.templates import service as templates
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)


def follow(session: Session, message: Message, no: Refusal, *, at: datetime) -> None:
    """Do what follows from a definite no to a message, beside its own failure."""
    channel = session.get_one(Channel, message.channel_id)
    if no.verdict:
        evidence = {"message_id": str(message.id), "code": no.code}
        verdicts.suppress(session, message, no.verdict, evidence=evidence, at=at)
    is_whatsapp = registry.provider(channel.kind).medium == "whatsapp"
    refused = no.verdict == "unsubscribed"
    if no.action is Action.PERSON and not refused and (no.code == errors.UNREACHABLE or not is_whatsapp):
        # Not for one who has refused: that person wants it on no channel.
        fallback.take(session, message)
    if is_whatsapp:
        _note(session, channel, message, no, at)


def reported(session: Session, channel: Channel, message: Message, error: dict | None, *, at: datetime) -> None:
    """Do what follows from a failure that came as a status of a message which the provider had accepted."""
    code = (error or {}).get("code")
    if not isinstance(code, int) or registry.provider(channel.kind).medium != "whatsapp":
        return
    no = errors.refusal(code, str((error or {}).get("title") or ""))
    if no.code == errors.UNREACHABLE and message.state is MessageState.FAILED:
        fallback.take(session, message)
    again.say(session, channel, message, no)
    _note(session, channel, message, no, at)


def _note(session: Session, channel: Channel, message: Message, no: Refusal, at: datetime) -> None:
    if no.code == errors.UNREACHABLE:
        _mark(session, message, no, at)
    elif no.code == errors.STOPPED_MARKETING and message.contact_id is not None:
        suppression.suppress_contact(
            session,
            message.workspace_id,
            message.contact_id,
            medium="whatsapp",
            scope=SuppressionScope.MARKETING,
            reason="refused_by_provider",
            actor="customer",
            evidence={"message_id": str(message.id), "code": no.code, "title": no.message},
            at=at,
        )
    elif no.code in errors.OTHER_TEMPLATE:
        templates.ask_sync(session, channel)
    elif not errors.is_known(no.code):
        log.error("whatsapp.unknown_code", code=no.code, message_id=str(message.id), channel_id=str(channel.id))


def _mark(session: Session, message: Message, no: Refusal, at: datetime) -> None:
    """Mark a person as unreachable, unless the person has written since: locked, so that a message coming in waits."""
    if message.contact_id is None:
        return
    query = sa.select(Conversation.last_inbound_at).where(Conversation.contact_id == message.contact_id)
    heard = session.scalars(query.order_by(Conversation.id).with_for_update()).all()
    if not any(last is not None and last >= at for last in heard):
        contacts.mark_unreachable(session, message.contact_id, reason=f"whatsapp {no.code}: {no.message}", at=at)
