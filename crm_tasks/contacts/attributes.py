"""The fields that a business keeps of its contacts: each name has one type, given by its first value or beforehand."""

import math
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.contacts.conditions import iso_date
from crm_tasks.contacts.models import Attribute, AttributeType, Contact
from crm_tasks.core.errors import Conflict, FieldError, Invalid

MOST = 200
LONGEST_NAME = 64
LONGEST_VALUE = 2_000
_REMEDIES = {
    AttributeType.TEXT: f"Give a text of at most {LONGEST_VALUE} characters.",
    AttributeType.NUMBER: "Give a number, such as 12.5.",
    AttributeType.BOOLEAN: "Give true or false.",
    AttributeType.DATE: "Give a date that exists, such as 2026-11-21.",
}


def types(session: Session, workspace_id: uuid.UUID) -> dict[str, AttributeType]:
    """Return the definitions of a workspace, by name."""
    query = sa.select(Attribute.name, Attribute.type).where(Attribute.workspace_id == workspace_id)
    return {row.name: row.type for row in session.execute(query.order_by(Attribute.name))}


def listed(session: Session, workspace_id: uuid.UUID) -> list[Attribute]:
    """Return the definitions of a workspace by name."""
    query = sa.select(Attribute).where(Attribute.workspace_id == workspace_id)
    return list(session.scalars(query.order_by(Attribute.name)))


def define(session: Session, workspace_id: uuid.UUID, name: str, type: AttributeType) -> Attribute:
    """Give a name its type.

    Raises:
        Invalid: not a name, or too many. Conflict: it has another type, and contacts have values of that.
    """
    name = _checked_name(name, "name")
    known = session.get(Attribute, (workspace_id, name), with_for_update=True)
    if known is None:
        _register(session, workspace_id, {name: type})
        known = session.get_one(Attribute, (workspace_id, name), populate_existing=True)
    if known.type is not type:
        if _is_used(session, workspace_id, name):
            raise Conflict(
                f"{name!r} is a {known.type}, and contacts have values of it.",
                code="attribute_used",
                hint="Take the values away first, or use another name.",
            )
        known.type = type
    return known


def checked(session: Session, workspace_id: uuid.UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are kept, each of the type of its name; new names get the type of their value.

    A text that is a date, such as 2026-11-21, makes a date of a new name. None is kept: it takes a value away.

    Raises:
        Invalid: each value of a wrong type, by field, type and value.
    """
    known = types(session, workspace_id)
    new: dict[str, AttributeType] = {}
    problems: list[FieldError] = []
    for given, value in values.items():
        name = _checked_name(given, f"attributes.{given}")
        type = known.get(name) or _type_of(value)
        if value is None:
            continue
        if type is None or not _fits(value, type):
            problems.append(_problem(name, type, value))
        elif name not in known:
            new[name] = type
    if problems:
        raise Invalid("These attributes cannot be kept.", code="bad_attributes", fields=problems)
    _register(session, workspace_id, new)
    return {name.strip(): value for name, value in values.items()}


def _register(session: Session, workspace_id: uuid.UUID, new: Mapping[str, AttributeType]) -> None:
    """Define names that are new; of two that define the same at once, the first one's type counts."""
    if not new:
        return
    known = types(session, workspace_id)
    if len(known.keys() | new.keys()) > MOST:
        raise Invalid(
            f"There are {len(known)} attributes already, at most {MOST} are possible.",
            code="too_many_attributes",
            fields=[FieldError("attributes", "Use the names that there are.")],
        )
    rows = [{"workspace_id": workspace_id, "name": name, "type": type} for name, type in sorted(new.items())]
    session.execute(insert(Attribute).values(rows).on_conflict_do_nothing())
    known = types(session, workspace_id)
    if others := [name for name, type in new.items() if known[name] is not type]:
        raise Conflict(
            f"{others[0]!r} has just become a {known[others[0]]}.", code="attribute_defined", hint="Send it again."
        )


def _checked_name(name: str, field: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        remedy = f"Give it a name of 1 to {LONGEST_NAME} printable characters."
        raise Invalid("This is not a name of an attribute.", fields=[FieldError(field[:200], remedy)])
    return name


def _type_of(value: Any) -> AttributeType | None:
    if isinstance(value, bool):
        return AttributeType.BOOLEAN
    if isinstance(value, int | float):
        return AttributeType.NUMBER
    if isinstance(value, str):
        return AttributeType.DATE if _fits(value, AttributeType.DATE) else AttributeType.TEXT
    return None


def _fits(value: Any, type: AttributeType) -> bool:
    match type:
        case AttributeType.TEXT:
            return isinstance(value, str) and len(value) <= LONGEST_VALUE
        case AttributeType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case AttributeType.BOOLEAN:
            return isinstance(value, bool)
    try:
        iso_date(value)
    except ValueError:
        return False
    return True


def _problem(name: str, type: AttributeType | None, value: Any) -> FieldError:
    shown = repr(value)[:60]
    if type is None:
        return FieldError(f"attributes.{name}", f"{shown} is neither a text nor a number, true, false or null.")
    return FieldError(f"attributes.{name}", f"{name} is a {type}, and {shown} is none. {_REMEDIES[type]}", "bad_type")


def _is_used(session: Session, workspace_id: uuid.UUID, name: str) -> bool:
    used = sa.select(Contact.id).where(Contact.workspace_id == workspace_id, Contact.attributes.has_key(name))
    return session.scalar(used.limit(1)) is not None
