"""Contacts and conversations, as they are exported."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import audience as audiences
from crm_tasks.contacts.models import Attribute, Contact
from crm_tasks.exports.kinds import NOBODY, PAGE, Kind, Order, Page, channels, counted, names
from crm_tasks.messages.models import Conversation
from crm_tasks.workspaces.models import User

# The names that an import knows, so that a file can come back.
_CONTACT = (
    *("id", "name", "phone", "email", "other_identities", "tags", "opted_out", "external_id", "locale", "time_zone"),
    *("assigned_to", "created_at", "updated_at"),
)
_OF_ITS_OWN = "attribute:"
_CONVERSATION = (
    *("id", "channel", "channel_kind", "contact_id", "name", "phone", "email", "group_id", "last_message_at"),
    *("last_inbound_at", "human_since", "human_by", "created_at"),
)


def _columns(session: Session, workspace_id: uuid.UUID) -> list[str]:
    """Return the columns of contacts: an attribute's is its name, unless that is one of ours."""
    query = sa.select(Attribute.name).where(Attribute.workspace_id == workspace_id).order_by(Attribute.name)
    return [*_CONTACT, *(f"{_OF_ITS_OWN}{each}" if each in _CONTACT else each for each in session.scalars(query))]


def _meant(session: Session, order: Order) -> list[sa.ColumnElement[bool]]:
    wanted = audiences.condition(session, order.workspace_id, order.filters["audience"])
    return [wanted, Contact.id < order.export_id]


def _contacts(session: Session, order: Order, after: Any) -> Page:
    query = (
        sa.select(
            *(Contact.id, Contact.name, Contact.tags, Contact.external_id, Contact.locale, Contact.time_zone),
            *(User.email, Contact.created_at, Contact.updated_at, Contact.attributes),
        )
        .outerjoin(User, User.id == Contact.assigned_to)
        .where(*_meant(session, order), *([Contact.id > after] if after else []))
    )
    found = session.execute(query.order_by(Contact.id).limit(PAGE)).all()
    named = names(session, order.workspace_id, [row[0] for row in found])
    of_its_own = [each.removeprefix(_OF_ITS_OWN) for each in order.columns[len(_CONTACT) :]]
    rows = []
    for contact_id, name, tags, external_id, locale, zone, assigned, made, changed, values in found:
        each = named.get(contact_id, NOBODY)
        reached = (each.phone, each.email, ";".join(each.others))
        plain = (tags, ";".join(each.refused), external_id, locale, zone, assigned, made, changed)
        rows.append([str(contact_id), name, *reached, *plain, *(values.get(one) for one in of_its_own)])
    return rows, found[-1][0] if found else None


def _spoken(order: Order) -> list[sa.ColumnElement[bool]]:
    wanted = [Conversation.workspace_id == order.workspace_id, Conversation.id < order.export_id]
    if channel_id := order.id_in("channel_id"):
        wanted.append(Conversation.channel_id == channel_id)
    if since := order.moment("since"):
        wanted.append(Conversation.last_message_at >= since)
    if until := order.moment("until"):
        wanted.append(Conversation.last_message_at < until)
    return wanted


def _conversations(session: Session, order: Order, after: Any) -> Page:
    query = sa.select(Conversation, Contact.name).outerjoin(Contact, Contact.id == Conversation.contact_id)
    query = query.where(*_spoken(order), *([Conversation.id > after] if after else []))
    found = session.execute(query.order_by(Conversation.id).limit(PAGE)).all()
    ways = channels(session, order)
    named = names(session, order.workspace_id, [each.contact_id for each, _ in found if each.contact_id])
    rows = []
    for each, name in found:
        channel, person = ways[each.channel_id], named.get(each.contact_id, NOBODY)
        with_whom = (each.contact_id, name, person.phone, person.email, each.group_id)
        moments = (each.last_message_at, each.last_inbound_at, each.human_since, each.human_by, each.created_at)
        rows.append([each.id, channel.name, channel.kind, *with_whom, *moments])
    return rows, found[-1][0].id if found else None


CONTACTS = Kind(
    columns=_columns,
    count=lambda session, order: counted(session, *_meant(session, order), of=Contact),
    page=_contacts,
)
CONVERSATIONS = Kind(
    columns=lambda _session, _workspace_id: list(_CONVERSATION),
    count=lambda session, order: counted(session, *_spoken(order), of=Conversation),
    page=_conversations,
)
