"""An e-mail on its way out: the rules are those of every message; its files are fetched last."""

import uuid
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Snooze
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.email.models import EmailAttachment
from crm_tasks.email.service import bounces
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import sending
from crm_tasks.messages.service.attachments import Uploads
from crm_tasks.messages.service.pacing import Start
from crm_tasks.messages.service.sending import Order
from crm_tasks.providers.provider import Refusal


def begin(
    session: Session, message_id: uuid.UUID, claim: Claim, start: Start | None = None
) -> Order | Start | Snooze | Uploads | None:
    """Mark an e-mail as `sending`, and return it with its files; or what `messages` would.

    Raises:
        Permanent: there is no such message, or nobody to send it to.
    """
    order = sending.begin(session, message_id, claim, start)
    if not isinstance(order, Order):
        return order
    query = sa.select(EmailAttachment).where(EmailAttachment.message_id == message_id)
    data = [each.data for each in session.scalars(query.order_by(EmailAttachment.position))]
    named = order.message.content.get("attachments") or []
    files = [{**each, "data": bytes(data[position])} for position, each in enumerate(named[: len(data)])]
    return replace(order, message=replace(order.message, content={**order.message.content, "attachments": files}))


def refused(session: Session, order: Order, no: Refusal) -> None:
    """Keep what a clear no says about the address."""
    if no.verdict is not None:
        message = session.get_one(Message, uuid.UUID(order.message.id))
        bounces.note(session, message, order.message.to.value, no.verdict, detail=no.message)
