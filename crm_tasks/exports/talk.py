"""Messages and the recipients of campaigns, as they are exported."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE_FIRST, Recipient
from crm_tasks.campaigns.service import progress, recipients
from crm_tasks.campaigns.service.recipients import Which
from crm_tasks.contacts.models import Contact
from crm_tasks.exports.kinds import NOBODY, PAGE, Kind, Order, Page, channels, counted, names
from crm_tasks.messages.models import Message, MessageState

_MESSAGE = (
    *("id", "conversation_id", "channel", "channel_kind", "contact_id", "name", "phone", "email", "direction", "type"),
    *("text", "category", "author", "state", "error_code", "error", "provider_id", "occurred_at", "accepted_at"),
    *("sent_at", "delivered_at", "read_at", "failed_at", "scheduled_for", "parts", "cost"),
)
_RECIPIENT = (
    *("position", "contact_id", "name", "phone", "email", "state", "forecast", "reason_code", "reason", "message_id"),
    "accepted_at",
)
_MILLIONTHS = 1_000_000


def _said(order: Order) -> list[sa.ColumnElement[bool]]:
    wanted = [Message.workspace_id == order.workspace_id, *order.made_between(Message.id)]
    if channel_id := order.id_in("channel_id"):
        wanted.append(Message.channel_id == channel_id)
    if direction := order.filters.get("direction"):
        wanted.append(Message.direction == direction)
    return wanted


def _messages(session: Session, order: Order, after: Any) -> Page:
    query = (
        sa.select(
            *(Message.id, Message.conversation_id, Message.channel_id, Message.contact_id, Contact.name),
            *(Message.direction, Message.type, Message.text, Message.category, Message.author, Message.state),
            *(Message.error["code"].astext, Message.error["title"].astext, Message.provider_id, Message.occurred_at),
            *(Message.accepted_at, Message.sent_at, Message.delivered_at, Message.read_at, Message.failed_at),
            *(Message.scheduled_for, Message.parts, Message.cost),
        )
        .outerjoin(Contact, Contact.id == Message.contact_id)
        .where(*_said(order), *([Message.id > after] if after else []))
    )
    found = session.execute(query.order_by(Message.id).limit(PAGE)).all()
    ways = channels(session, order)
    named = names(session, order.workspace_id, list({row[3] for row in found if row[3]}))
    rows = []
    for message_id, conversation_id, channel_id, contact_id, name, *rest, cost in found:
        channel, person = ways.get(channel_id), named.get(contact_id, NOBODY)
        by = (channel.name, channel.kind) if channel else (channel_id, None)
        price = None if cost is None else cost / _MILLIONTHS
        rows.append([message_id, conversation_id, *by, contact_id, name, person.phone, person.email, *rest, price])
    return rows, found[-1][0] if found else None


def _which(order: Order) -> Which:
    state = order.filters.get("state")
    return Which(state=MessageState(state) if state else None)


def _recipient_count(session: Session, order: Order) -> int:
    query = progress.joined(sa.func.count()).where(
        Recipient.campaign_id == order.id_in("campaign_id"), *_which(order).conditions()
    )
    return session.scalar(query) or 0


def _recipients(session: Session, order: Order, after: Any) -> Page:
    campaign_id = order.id_in("campaign_id")
    assert campaign_id is not None
    found = recipients.listed(session, campaign_id, _which(order), after=after or BEFORE_FIRST, limit=PAGE)
    ids = [row.contact_id for row in found]
    named = names(session, order.workspace_id, ids)
    query = sa.select(Contact.id, Contact.name).where(Contact.id == sa.any_(sa.cast(ids, sa.ARRAY(sa.Uuid()))))
    called = {row.id: row.name for row in session.execute(query)}
    rows = []
    for row in found:
        person = named.get(row.contact_id, NOBODY)
        reached = (row.contact_id, called.get(row.contact_id), person.phone, person.email)
        rows.append(
            [row.position, *reached, row.state, row.forecast, row.code, row.reason, row.message_id, row.accepted_at]
        )
    return rows, found[-1].contact_id if found else None


MESSAGES = Kind(
    columns=lambda _session, _workspace_id: list(_MESSAGE),
    count=lambda session, order: counted(session, *_said(order), of=Message),
    page=_messages,
)
RECIPIENTS = Kind(
    columns=lambda _session, _workspace_id: list(_RECIPIENT),
    count=_recipient_count,
    page=_recipients,
)
