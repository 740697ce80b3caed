"""What people type: read so that no text of it can trip the database, and told what is wrong with it in words."""

import math
from collections.abc import Mapping

import marshmallow as ma
from flask import request

from crm_tasks.core.errors import DomainError, FieldError
from crm_tasks.core.text import clean
from crm_tasks.workspaces.policies import field_errors


def asked(*names: str) -> dict[str, str]:
    """Return what the address of a page asks for; what it does not is empty."""
    return {name: clean(request.args.get(name, "")).strip() for name in names}


def typed() -> dict[str, str]:
    """Return the fields of a form."""
    return {clean(name): clean(value).strip() for name, value in request.form.items()}


def words(text: str) -> list[str]:
    """Return what stands between commas."""
    return [word for each in text.split(",") if (word := each.strip())]


def problems(error: DomainError | ma.ValidationError) -> list[FieldError]:
    """Return what is wrong, the whole first (it has no field), then field by field."""
    if isinstance(error, ma.ValidationError):
        return field_errors(error.normalized_messages())
    whole = [] if error.fields else [FieldError("", f"{error.message} {error.hint}".strip())]
    return [*whole, *error.fields]


def by_field(found: list[FieldError]) -> Mapping[str, str]:
    """Return the first thing that is wrong with each field."""
    return {each.field: each.message for each in reversed(found)}


def as_number(text: str) -> int | float | str:
    """Return a number if it is one; what is none, and what JSON has no number for, stays text."""
    try:
        if text.lstrip("+-").isdecimal():
            return int(text)
        found = float(text)
    except ValueError:
        return text
    return found if math.isfinite(found) else text


def whole(text: str) -> int | str | None:
    """Return a whole number if it is one; what is none, a schema refuses in its own words."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text or None
