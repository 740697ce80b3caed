"""What gateways call about and what mail servers send back becomes statuses and words against addresses.

Applied twice, an event changes nothing the second time.
"""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import suppression
from crm_tasks.core.log import get_logger
from crm_tasks.email.models import Verdict
from crm_tasks.email.service import bounces
from crm_tasks.messages.models import Direction, EventState, InboundEvent, Message, MessageState
from crm_tasks.messages.service import fallback, statuses
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Malformed, Report
from crm_tasks.providers.whatsapp.webhook import Person, Status
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    report: Report
    message: Message | None


def receive(session: Session, event_id: uuid.UUID) -> None:
    """Apply a stored event; one that cannot be understood is put aside."""
    event = session.get(InboundEvent, event_id, with_for_update=True)
    if event is None or event.state is EventState.DONE:
        return
    problem = _apply(session, event)
    event.problem = problem
    event.state = EventState.QUARANTINED if problem else EventState.DONE
    if problem:
        log.warning("event.quarantined", event_id=str(event.id), problem=problem)


def _apply(session: Session, event: InboundEvent) -> str | None:
    """Apply one event; return what is wrong with it."""
    channel = session.get(Channel, uuid.UUID(event.signed_by[0])) if event.signed_by else None
    if channel is None:
        return "its channel is gone"
    event.workspace_id = channel.workspace_id
    parse = registry.provider(channel.kind).parse
    if parse is None:
        return f"a channel of kind {channel.kind} has no callbacks"
    try:
        found = parse(event.body)
    except Malformed as error:
        return str(error)[:500]
    known = [_known(session, channel, each) for each in found if isinstance(each, Report)]
    told = [(_status(each), event.id) for each in known if _id(each)]
    if told:
        statuses.apply(session, channel, told)
    for each in known:
        _judge(session, each, event)
    return None if len(told) == len(known) else "it names no message of this channel"


def _known(session: Session, channel: Channel, report: Report) -> _Known:
    """Find the message of a report: ours by its id, or by the id that the gateway gave it."""
    query = sa.select(Message).where(Message.channel_id == channel.id, Message.direction == Direction.OUT)
    found = None
    if report.message_id:
        found = session.scalar(query.where(Message.id == uuid.UUID(report.message_id)))
    if found is None and report.provider_id:
        found = session.scalar(query.where(Message.provider_id == report.provider_id))
    return _Known(report, found)


def _id(known: _Known) -> str | None:
    """Return the id under which a report is kept. One that comes before we know the gateway's id is parked under it."""
    if known.message is not None:
        return known.message.provider_id or known.report.provider_id or str(known.message.id)
    return known.report.provider_id


def _status(known: _Known) -> Status:
    report = known.report
    return Status(
        waba_id=None,
        phone_number_id=None,
        at=report.at,
        id=_id(known) or "",
        status=report.status,
        person=Person(),
        recipient=report.recipient,
        callback_data=str(known.message.id) if known.message else None,
        detail={"errors": [dict(report.error)]} if report.error else {},
    )


def _judge(session: Session, known: _Known, event: InboundEvent) -> None:
    report, message = known.report, known.message
    if message is None or report.verdict is None:
        return
    address = _address(session, message, report.recipient)
    if address:
        detail = str((report.error or {}).get("title") or report.verdict)
        at = min(report.at, event.received_at) if report.at else event.received_at
        bounces.note(session, message, address, report.verdict, detail=detail, event_id=event.id, at=at)
    if report.verdict == Verdict.BOUNCED and message.state is MessageState.FAILED:
        fallback.take(session, message)


def _address(session: Session, message: Message, recipient: str) -> str | None:
    """Return the address that was written to. A bounce may name another, to which the mail was passed on."""
    known = suppression.addresses(session, message.contact_id, "email") if message.contact_id else []
    if recipient.lower() in known or not known:
        return recipient.lower() or None
    return known[0] if len(known) == 1 else None
