"""Foreign text and JSON made storable: Postgres takes neither NUL nor lone surrogates, though both are legal JSON."""

from typing import Any

_DEEPEST = 60
_LARGEST = 2**63


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
