"""Reading what scripts send to `/_sandbox`: a value of the right type, or a clear 400."""

import re
from typing import Any

Json = dict[str, Any]


class BadInput(Exception):
    """What was sent cannot be used; the text says why and the caller gets it with this status."""

    def __init__(self, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.field, self.status = message, field, status


def mapping(value: Any, field: str | None = None) -> Json:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise BadInput("A JSON object is needed.", field)
    return value


def known(value: Any, allowed: tuple[str, ...], field: str | None = None) -> Json:
    """Return a JSON object that has no keys but these."""
    for key in mapping(value, field):
        if key not in allowed:
            raise BadInput(f"Unknown key {key!r}; known are {', '.join(allowed)}.", key)
    return value


def text(value: Json, key: str, default: str | None = None) -> str:
    """Return a string that is not empty; a missing one without a default is an error."""
    found = value.get(key)
    if found is None and default is not None:
        return default
    if not isinstance(found, str) or not found.strip():
        raise BadInput(f"{key} must be a string that is not empty.", key)
    return found


def optional(value: Json, key: str) -> str | None:
    """Return a string, or None when the key is missing, null or empty."""
    return text(value, key) if value.get(key) else None


def number(value: Json, key: str, default: float = 0, *, least: float = 0, most: float = 1e9) -> float:
    """Return a number within bounds."""
    found = value.get(key)
    if found is None:
        return default
    if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
        raise BadInput(f"{key} must be a number from {least:g} to {most:g}.", key)
    return found


def whole(value: Json, key: str, default: int = 0, *, least: int = 0, most: int = 10**9) -> int:
    """Return a whole number within bounds."""
    found = number(value, key, default, least=least, most=most)
    if found != int(found):
        raise BadInput(f"{key} must be a whole number.", key)
    return int(found)


def flag(value: Json, key: str, default: bool) -> bool:
    """Return true or false."""
    found = value.get(key)
    if found is None:
        return default
    if not isinstance(found, bool):
        raise BadInput(f"{key} must be true or false.", key)
    return found


def pattern(value: Json, key: str) -> re.Pattern[str] | None:
    """Return a compiled regular expression, or None when the key is missing."""
    found = optional(value, key)
    if found is None:
        return None
    try:
        return re.compile(found)
    except re.error as error:
        raise BadInput(f"{key} is not a regular expression: {error}.", key) from None
