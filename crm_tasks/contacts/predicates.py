"""Conditions as SQL over `contacts`. Every value is a bound parameter; nothing that a person wrote becomes SQL text."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from crm_tasks.contacts import countries
from crm_tasks.contacts.conditions import ATTRIBUTES, Condition, Kind, Node
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.core.db import now

Predicate = sa.ColumnElement[bool]
# Tables of rooms above this one, by what is read of them here.
_CONVERSATIONS = sa.table("conversations", sa.column("contact_id", sa.Uuid()), sa.column("last_inbound_at"))
_RECIPIENTS = sa.table(
    "recipients",
    sa.column("campaign_id", sa.Uuid()),
    sa.column("contact_id", sa.Uuid()),
    sa.column("message_id", sa.Uuid()),
)
_MESSAGE_COLUMNS = ("id", "conversation_id", "direction", "state", "occurred_at", "accepted_at")
_MESSAGES = sa.table("messages", *map(sa.column, _MESSAGE_COLUMNS))


def predicate(node: Node, *, exact: bool = False) -> Predicate:
    """Return what a tree of conditions demands of a contact.

    Args:
        exact: also what is unknown must come out as false, not as SQL's NULL: below a `not` it would be true of
            nobody. Elsewhere a NULL does no harm, and indexes can be used.
    """
    if isinstance(node, Condition):
        found = _OF_KIND[node.kind](node)
        return sa.func.coalesce(found, sa.false()) if exact else found
    if node.how == "not":
        return sa.not_(predicate(node.parts[0], exact=True))
    parts = [predicate(part, exact=exact) for part in node.parts]
    return sa.and_(*parts) if node.how == "all" else sa.or_(*parts)


def like(text: str, *, before: str = "%", after: str = "%") -> str:
    """Return a LIKE pattern for this very text: its own wildcards are none."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{before}{escaped}{after}"


# --- by what a field holds ---------------------------------------------------------------------------------------


def _text(column: sa.ColumnElement[Any], op: str, value: Any) -> Predicate:
    """Compare texts as people do: capitals do not matter."""
    if op in ("contains", "starts_with"):
        pattern = like(value, before="%" if op == "contains" else "")
        return sa.func.lower(column).like(sa.func.lower(pattern))
    if op == "is":
        return sa.func.lower(column) == sa.func.lower(value)
    return sa.func.lower(column).is_distinct_from(sa.func.lower(value))


def _ordered(column: sa.ColumnElement[Any], op: str, value: Any) -> Predicate:
    match op:
        case "is":
            return column == value
        case "is_not":
            return column.is_distinct_from(value)
        case "<" | "before":
            return column < value
        case "<=":
            return column <= value
        case ">" | "after":
            return column > value
        case ">=":
            return column >= value
    return column.between(*value)


def _number(column: sa.ColumnElement[Any], op: str, value: Any) -> Predicate:
    def exactly(each: Any) -> sa.ColumnElement[Any]:
        return sa.literal(Decimal(repr(each)), sa.Numeric())

    return _ordered(column, op, [exactly(each) for each in value] if op == "between" else exactly(value))


def _date(column: sa.ColumnElement[Any], op: str, value: Any) -> Predicate:
    """Compare dates as they are written, which is in their order."""
    if op == "within_days":
        first, last = (sa.func.to_char(_utc(now() - timedelta(days=back)), "YYYY-MM-DD") for back in (value, 0))
        return column.between(first, last)

    def written(each: date) -> str:
        return each.isoformat()

    return _ordered(column, op, [written(each) for each in value] if op == "between" else written(value))


def _utc(moment: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.timezone("UTC", moment)


def _moment(column: sa.ColumnElement[Any], op: str, value: Any) -> Predicate:
    if op in ("within_days", "older_than_days"):
        edge = now() - timedelta(days=value)
        return column >= edge if op == "within_days" else column < edge

    def typed(each: datetime) -> sa.ColumnElement[Any]:
        return sa.literal(each, sa.DateTime(timezone=True))

    return _ordered(column, op, [typed(each) for each in value] if op == "between" else typed(value))


_COMPARE: Mapping[Kind, Callable[[sa.ColumnElement[Any], str, Any], Predicate]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _ordered,
    Kind.DATE: _date,
    Kind.MOMENT: _moment,
    Kind.USER: _ordered,
}


def _compared(condition: Condition) -> Predicate:
    column = _column(condition)
    if condition.op == "is_set":
        return column.is_not(None)
    if condition.op == "is_not_set":
        return column.is_(None)
    return _COMPARE[condition.kind](column, condition.op, condition.value)


def _column(condition: Condition) -> sa.ColumnElement[Any]:
    if condition.field.startswith(ATTRIBUTES):
        return _attribute(condition.field.removeprefix(ATTRIBUTES), condition.kind)
    if condition.field == "last_inbound_at":
        last = sa.func.max(_CONVERSATIONS.c.last_inbound_at, type_=sa.DateTime(timezone=True))
        return sa.select(last).where(_CONVERSATIONS.c.contact_id == Contact.id).scalar_subquery()
    return getattr(Contact, condition.field)


def _attribute(name: str, kind: Kind) -> sa.ColumnElement[Any]:
    """Return a value of this type; one of another type, from before the attribute had its own, is none."""
    written = Contact.attributes[name].astext
    json_type = "string" if kind in (Kind.TEXT, Kind.DATE) else kind.value
    value: sa.ColumnElement[Any] = written
    if kind is Kind.NUMBER:
        value = sa.cast(written, sa.Numeric())
    elif kind is Kind.BOOLEAN:
        value = sa.cast(written, sa.Boolean())
    return sa.case((sa.func.jsonb_typeof(Contact.attributes[name]) == json_type, value))


def _tags(condition: Condition) -> Predicate:
    if condition.op in ("is_set", "is_not_set"):
        return (sa.func.cardinality(Contact.tags) > 0) == (condition.op == "is_set")
    found = Contact.tags.op("@>", is_comparison=True)(sa.cast([condition.value], sa.ARRAY(sa.Text())))
    return found if condition.op == "has" else sa.not_(found)


def _identity(condition: Condition) -> Predicate:
    found = _has_identity(Identity.kind == condition.value)
    return found if condition.op == "has" else sa.not_(found)


def _country(condition: Condition) -> Predicate:
    number = countries.is_of(Identity.value, condition.value)  # type: ignore[arg-type]
    found = _has_identity(Identity.kind == sa.literal_column("'phone'"), number)
    return found if condition.op == "is" else sa.not_(found)


def _has_identity(*conditions: Predicate) -> Predicate:
    # Correlated, and so found by the index of identities for each contact: a hashed list of a million would spill.
    return (
        sa.select(sa.literal(1))
        .where(Identity.contact_id == Contact.id, Identity.retired_at.is_(None), *conditions)
        .correlate(Contact)
        .exists()
    )


def _campaign(condition: Condition) -> Predicate:
    """What a campaign's message came to; `replied` is any message of the person in that conversation afterwards."""
    recipient, message = _RECIPIENTS, _MESSAGES.alias("sent")
    query = sa.select(sa.literal(1)).where(
        recipient.c.campaign_id == condition.value, recipient.c.contact_id == Contact.id
    )
    if condition.op != "targeted":
        query = query.where(message.c.id == recipient.c.message_id)
    if condition.op == "replied":
        reply = _MESSAGES.alias("reply")
        answers = sa.select(sa.literal(1)).where(
            reply.c.conversation_id == message.c.conversation_id,
            reply.c.direction == "in",
            reply.c.occurred_at > message.c.accepted_at,
        )
        query = query.where(answers.correlate(message).exists())
    elif condition.op in ("received", "read"):
        read = ("read", "played")
        query = query.where(message.c.state.in_(read if condition.op == "read" else ("delivered", *read)))
    return query.correlate(Contact).exists()


_OF_KIND: Mapping[Kind, Callable[[Condition], Predicate]] = {
    **dict.fromkeys(_COMPARE, _compared),
    Kind.TAGS: _tags,
    Kind.IDENTITY: _identity,
    Kind.COUNTRY: _country,
    Kind.CAMPAIGN: _campaign,
}
