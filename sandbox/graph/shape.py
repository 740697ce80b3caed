"""A small language for the shape of a JSON value. A null is the same as a missing key, as clients send them."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sandbox.errors import GraphError
from sandbox.fields import Json

Check = Callable[[Any, str], None]


def invalid(where: str, why: str) -> GraphError:
    """Return the error for a bad value."""
    return GraphError(131009, f"{where}: {why}")


def missing(where: str) -> GraphError:
    """Return the error for a missing key."""
    return GraphError(131008, f"The parameter {where} is required.")


def wrong_type(where: str, wanted: str) -> GraphError:
    """Return the error for a value of the wrong JSON type."""
    return GraphError(100, message=f"(#100) Param {where} must be {wanted}.")


def obj(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *, closed: bool = True) -> Check:
    """An object; closed ones have no other keys."""
    fields = {**required, **(optional or {})}

    def inside(where: str, key: str) -> str:
        return f"{where}['{key}']" if where else key

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(where, "a JSON object")
        for key, item in value.items():
            if item is None:
                continue
            inner = fields.get(key)
            if inner is not None:
                inner(item, inside(where, key))
            elif closed:
                raise GraphError(100, message=f'(#100) Unexpected key "{key}" on param "{where or "message"}".')
        for key in required:
            if value.get(key) is None:
                raise missing(inside(where, key))

    return check


def text(most: int, least: int = 1, *, code: int = 131009) -> Check:
    """A string of so many characters."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(where, "a string")
        if len(value) > most:
            if code == 100:
                raise GraphError(100, message=f"(#100) Param {where} must be at most {most} characters long.")
            raise invalid(where, f"length invalid. Min length: {least}, Max length: {most}")
        if len(value) < least or (least and not value.strip()):
            raise missing(where) if least else invalid(where, "must not be empty")

    return check


def one_of(*allowed: str) -> Check:
    """One of these strings, in any case."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise invalid(where, f"must be one of {{{', '.join(allowed)}}}")

    return check


def array(item: Check, least: int = 0, most: int = 1000) -> Check:
    """A list of so many items."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(where, "an array")
        if not least <= len(value) <= most:
            raise invalid(where, f"must have {least} to {most} items, not {len(value)}")
        for index, member in enumerate(value):
            item(member, f"{where}[{index}]")

    return check


def number(low: float, high: float) -> Check:
    """A number, or its text, within bounds."""

    def check(value: Any, where: str) -> None:
        try:
            found = float(value) if not isinstance(value, bool) else None
        except (TypeError, ValueError):
            found = None
        if found is None or not low <= found <= high:
            raise invalid(where, f"must be a number from {low:g} to {high:g}")

    return check


def boolean(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong_type(where, "a boolean")


def link(value: Any, where: str) -> None:
    """An http or https address."""
    if not isinstance(value, str):
        raise wrong_type(where, "a string")
    try:
        parts = urlsplit(value)
    except ValueError:
        raise invalid(where, "is not a valid URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise invalid(where, "must be an http or https URL")


def anything(value: Any, where: str) -> None:
    """Whatever it is."""


def mapping(value: Any, where: str) -> None:
    """Any JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(where, "a JSON object")


def every(*checks: Check) -> Check:
    """All of these."""

    def check(value: Json, where: str) -> None:
        for inner in checks:
            inner(value, where)

    return check
