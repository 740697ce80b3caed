"""Conditions on contacts, as a segment keeps them: JSON that is read into a tree, or refused with where and why.

    {"all": […]} | {"any": […]} | {"not": …} | {"field": "attributes.city", "op": "is", "value": "Lyon"}

Every condition is either true or false of a person: what is not known is not something. So `is_not` holds for whom
nothing is known of, and `not` is the exact opposite.
"""

import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import phonenumbers

from crm_tasks.contacts.models import AttributeType, IdentityKind
from crm_tasks.core.errors import FieldError, Invalid, did_you_mean

DEEPEST = 5
MOST = 50
LONGEST_TEXT = 500
_LONGEST_DAYS = 36_600
_LARGEST = 10**30
ATTRIBUTES = "attributes."


class Kind(StrEnum):
    """What a field holds, which decides about its operators."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    MOMENT = "moment"
    TAGS = "tags"
    IDENTITY = "identity"
    COUNTRY = "country"
    USER = "user"
    CAMPAIGN = "campaign"


# What every contact has; `attributes.<name>` is of the type that the workspace's definition says.
FIELDS: Mapping[str, Kind] = {
    "name": Kind.TEXT,
    "username": Kind.TEXT,
    "external_id": Kind.TEXT,
    "locale": Kind.TEXT,
    "time_zone": Kind.TEXT,
    "tags": Kind.TAGS,
    "identity": Kind.IDENTITY,
    "country": Kind.COUNTRY,
    "assigned_to": Kind.USER,
    "created_at": Kind.MOMENT,
    "last_inbound_at": Kind.MOMENT,
    "campaign": Kind.CAMPAIGN,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is to be true; the value is of the type that the operator takes."""

    field: str
    kind: Kind
    op: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Group:
    """`all` of these, `any` of them, or `not` the only one."""

    how: str
    parts: Sequence["Condition | Group"]


Node = Condition | Group


def read(value: Any, attributes: Mapping[str, AttributeType], *, at: str = "conditions") -> Node:
    """Return conditions as a tree.

    Args:
        attributes: the workspace's definitions.
        at: how the caller calls the whole, for the names of fields in errors.

    Raises:
        Invalid: each thing that is wrong, by its place in the JSON.
    """
    reader = _Reader(attributes)
    node = reader.node(value, at, 1)
    if reader.seen > MOST:
        reader.problems.append(FieldError(at, f"Use at most {MOST} conditions."))
    if node is None or reader.problems:
        raise Invalid("These conditions cannot be used.", code="bad_conditions", fields=reader.problems)
    return node


class _Wrong(Exception):
    """Something is wrong with what is at this place."""

    def __init__(self, at: str, remedy: str) -> None:
        super().__init__(remedy)
        self.at, self.remedy = at, remedy


class _Reader:
    """Reads one tree and collects what is wrong with it."""

    def __init__(self, attributes: Mapping[str, AttributeType]) -> None:
        self.attributes, self.problems, self.seen = attributes, list[FieldError](), 0

    def node(self, value: Any, at: str, depth: int) -> Node | None:
        """Read a group or a condition; None if something is wrong with it."""
        try:
            if not isinstance(value, dict):
                raise _Wrong(at, 'Give an object such as {"all": [{"field": "tags", "op": "has", "value": "vip"}]}.')
            return self._condition(value, at) if "field" in value else self._group(value, at, depth)
        except _Wrong as wrong:
            if len(self.problems) < MOST:
                self.problems.append(FieldError(wrong.at, wrong.remedy))
            return None

    def _group(self, value: dict[str, Any], at: str, depth: int) -> Group:
        if len(value) != 1 or (how := next(iter(value))) not in ("all", "any", "not"):
            raise _Wrong(at, 'Give exactly one of "all", "any" and "not", or "field" with "op" and "value".')
        if depth > DEEPEST:
            raise _Wrong(at, f"Nest at most {DEEPEST} deep.")
        inner = [value[how]] if how == "not" else value[how]
        if not isinstance(inner, list) or not 0 < len(inner) <= MOST:
            raise _Wrong(f"{at}.{how}", f"Give a list of 1 to {MOST} conditions.")
        places = [f"{at}.not"] if how == "not" else [f"{at}.{how}.{position}" for position in range(len(inner))]
        parts = [self.node(each, place, depth + 1) for each, place in zip(inner, places, strict=True)]
        return Group(how, [part for part in parts if part is not None])

    def _condition(self, value: dict[str, Any], at: str) -> Condition:
        self.seen += 1
        if unknown := sorted(set(value) - {"field", "op", "value"}):
            raise _Wrong(f"{at}.{unknown[0]}", 'A condition has "field", "op" and "value" and nothing else.')
        kind = self._kind(value["field"], f"{at}.field")
        readers, op = OPERATORS[kind], value.get("op")
        if not isinstance(op, str) or op not in readers:
            raise _Wrong(f"{at}.op", f"{value['field']} is compared by one of: {', '.join(readers)}.")
        take = readers[op]
        if take is None:
            if value.get("value") is not None:
                raise _Wrong(f"{at}.value", f"{op} takes no value.")
            return Condition(value["field"], kind, op)
        try:
            return Condition(value["field"], kind, op, take(value.get("value")))
        except ValueError as error:
            raise _Wrong(f"{at}.value", str(error)) from None

    def _kind(self, field: Any, at: str) -> Kind:
        if isinstance(field, str) and field.startswith(ATTRIBUTES):
            name = field.removeprefix(ATTRIBUTES)
            if name in self.attributes:
                return Kind(self.attributes[name])
            hint = did_you_mean(name, self.attributes)
            raise _Wrong(at, f"There is no attribute {name[:64]!r}.{hint} PUT /attributes defines one.")
        if isinstance(field, str) and field in FIELDS:
            return FIELDS[field]
        raise _Wrong(at, f"Use one of: {', '.join(FIELDS)}, attributes.NAME.")


# --- values ------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        raise ValueError(f"Give a text of 1 to {LONGEST_TEXT} characters.")
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("Give a number, such as 12.5.")
    if abs(value) > _LARGEST:
        raise ValueError("This number is too large.")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("Give true or false.")
    return value


def iso_date(value: Any) -> date:
    """Return a date written as 2026-11-21.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("Give a date that exists, such as 2026-11-21.")


def _moment(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1 < found.year < 9999:
        raise ValueError("Give a moment with its time zone, such as 2026-11-21T08:00:00Z.")
    return found


def _days(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LONGEST_DAYS:
        raise ValueError(f"Give a whole number of days, 1 to {_LONGEST_DAYS}.")
    return value


def _tag(value: Any) -> str:
    return _text(value).strip().lower()


def _identity(value: Any) -> IdentityKind:
    try:
        return IdentityKind(value)
    except ValueError:
        raise ValueError(f"Use one of: {', '.join(IdentityKind)}.") from None


def _country(value: Any) -> str:
    if not isinstance(value, str) or value.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("Give a country by its two letters, such as DE.")
    return value.upper()


def _id(value: Any) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise ValueError("Give an id.") from None


def _pair(read_one: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
    def read_both(value: Any) -> tuple[Any, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError("Give a list of two: from and to, both included.")
        first, last = read_one(value[0]), read_one(value[1])
        if first > last:
            raise ValueError("Give the smaller one first.")
        return first, last

    return read_both


_SET: dict[str, Callable[[Any], Any] | None] = {"is_set": None, "is_not_set": None}
# By kind and operator, what reads the value; None takes none.
OPERATORS: Mapping[Kind, Mapping[str, Callable[[Any], Any] | None]] = {
    Kind.TEXT: {"is": _text, "is_not": _text, "contains": _text, "starts_with": _text, **_SET},
    Kind.NUMBER: {
        **dict.fromkeys(("is", "is_not", "<", "<=", ">", ">="), _number),
        "between": _pair(_number),
        **_SET,
    },
    Kind.BOOLEAN: {"is": _boolean, "is_not": _boolean, **_SET},
    Kind.DATE: {
        **dict.fromkeys(("is", "is_not", "before", "after"), iso_date),
        "between": _pair(iso_date),
        "within_days": _days,
        **_SET,
    },
    Kind.MOMENT: {
        "before": _moment,
        "after": _moment,
        "between": _pair(_moment),
        "within_days": _days,
        "older_than_days": _days,
        **_SET,
    },
    Kind.TAGS: {"has": _tag, "has_not": _tag, **_SET},
    Kind.IDENTITY: {"has": _identity, "has_not": _identity},
    Kind.COUNTRY: {"is": _country, "is_not": _country},
    Kind.USER: {"is": _id, "is_not": _id, **_SET},
    Kind.CAMPAIGN: dict.fromkeys(("targeted", "received", "read", "replied"), _id),
}
