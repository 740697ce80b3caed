"""What providers other than WhatsApp tell, in the form that the way in works with."""

from crm_tasks.contacts import service as contacts
from crm_tasks.core.text import clean, storable
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Address, Inbound, Malformed, Report
from crm_tasks.providers.whatsapp.webhook import InboundMessage, Person, Status


def read(kind: str, body: bytes) -> tuple[list[Status | Inbound], list[str]]:
    """Return what a callback of this kind of channel says, and what of it cannot be used."""
    parse = registry.provider(kind).parse
    if parse is None:
        return [], [f"{kind} tells nothing"]
    try:
        told = parse(body)
    except Malformed as error:
        return [], [clean(str(error)) or "malformed"]
    updates: list[Status | Inbound] = []
    problems: list[str] = []
    for each in told:
        if isinstance(each, Inbound):
            updates.append(each)
        elif each.provider_id or each.message_id:
            updates.append(_status(each))
        else:
            problems.append("a report that names no message")
    return updates, problems


def message(told: Inbound) -> InboundMessage:
    """Return a person's text as a message."""
    text = clean(told.text)
    return InboundMessage(
        waba_id=None,
        phone_number_id=None,
        at=told.at,
        id=clean(told.provider_id),
        person=Person(),
        type="text",
        content={"body": text},
        text=text,
        context_id=None,
        target_id=None,
        group_id=None,
        raw={},
    )


def names(sender: Address) -> contacts.Names:
    """Return by which name the sender is known."""
    value = clean(sender.value)
    return contacts.Names(email=value.lower()) if sender.kind == "email" else contacts.Names(phone=value)


def _status(told: Report) -> Status:
    """Return a report as a status. One that names only our own id is kept under that."""
    detail = {"errors": [dict(told.error)]} if told.error else {}
    return Status(
        waba_id=None,
        phone_number_id=None,
        at=told.at,
        id=clean(told.provider_id or told.message_id or ""),
        status=clean(told.status),
        person=Person(),
        recipient=clean(told.recipient),
        callback_data=told.message_id,
        detail=storable({**detail, "verdict": told.verdict} if told.verdict else detail),
    )
