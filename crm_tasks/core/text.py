"""Foreign text made harmless: storable (Postgres takes neither NUL nor lone surrogates), and no formula in a sheet."""

import re
from typing import Any

_DEEPEST = 60
_LARGEST = 2**63
# What spreadsheets take for the beginning of a formula, and what some of them skip before one.
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def clean(text: str) -> str:
    """Return text without NUL and lone surrogates; each becomes a replacement character."""
    if text.isascii():
        return text.replace("\x00", "\ufffd")
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def storable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value that every column of ours can hold."""
    if isinstance(value, str):
        return clean(value)
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {clean(str(key)): storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item, depth + 1) for item in value]
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return str(value)
    return value


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: with an apostrophe before it, where that is needed.

    A plain number is left as it is, so that +15550001111 stays a phone number for whoever reads the file.
    """
    return f"'{text}" if text[:1] in _FORMULA and not _NUMBER.fullmatch(text) else text
