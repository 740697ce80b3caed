"""Keyset paging: `{"data": […], "next": cursor or null}`. A cursor is opaque, and stable while rows come and go."""

import base64
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import marshmallow as ma
import orjson

from crm_tasks.core.errors import FieldError, Invalid

T = TypeVar("T")
MOST = 200


class PageArgs(ma.Schema):
    """Query arguments of every list."""

    limit = ma.fields.Integer(
        load_default=50,
        validate=ma.validate.Range(1, MOST, error=f"Ask for 1 to {MOST}."),
        metadata={"description": "How many at most"},
    )
    cursor = ma.fields.String(load_default=None, metadata={"description": "`next` of the page before"})


def page(rows: Sequence[T], limit: int, dump: Callable[[T], Any], key: Callable[[T], Sequence[Any]]) -> dict[str, Any]:
    """Return a page of rows, of which one more than `limit` were asked for."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {"data": [dump(row) for row in shown], "next": encode(key(shown[-1])) if more else None}


def encode(values: Sequence[Any]) -> str:
    """Return a cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(list(values), default=str)).decode().rstrip("=")


def decode(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Return the values in a cursor, or None without one.

    Raises:
        Invalid: it is not one of ours.
    """
    if not cursor:
        return None
    try:
        values = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if len(values) != len(kinds):
            raise ValueError
        return tuple(_READ[kind](value) for kind, value in zip(kinds, values, strict=True))
    except (ValueError, TypeError, AttributeError):
        remedy = "Use the `next` of the page before, unchanged."
        raise Invalid("This cursor is not valid.", fields=[FieldError("cursor", remedy, "bad_cursor")]) from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError
    return value


_READ: dict[type, Callable[[Any], Any]] = {
    uuid.UUID: uuid.UUID,
    datetime: datetime.fromisoformat,
    str: _text,
    int: _number,
}


class Envelope(ma.Schema):
    """A page of anything."""

    data = ma.fields.List(ma.fields.Dict())
    next = ma.fields.String(allow_none=True)
