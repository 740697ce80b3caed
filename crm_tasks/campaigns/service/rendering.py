"""Values of people put into the places of a message. Pure: content and person in, content or what is missing out.

A place is `{{name}}` or `{{city|there}}`: a field of the person or one of its attributes, and what is said instead if
there is no value. No expressions, no loops: what a marketer writes can do nothing but name a value.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

# What every person has beside the attributes; an attribute of the same name is `attributes.phone`.
FIELDS = ("name", "username", "phone", "email", "locale", "external_id")
_PLACE = re.compile(r"\{\{([^{}|]*)(?:\|([^{}]*))?\}\}")
# Names of things at the provider, of files, of what is not said to anybody.
_NOT_WORDS = frozenset({"id", "type", "sub_type", "parameter_name", "code", "policy", "index", "media_type"})
_LINKS = frozenset({"link", "url"})
_ATTRIBUTES = "attributes."


@dataclass(frozen=True, slots=True)
class Person:
    """What may be said to somebody of themselves."""

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def get(self, name: str) -> Any:
        """Return a field, or an attribute."""
        if name in FIELDS:
            return self.values.get(name)
        return self.attributes.get(name.removeprefix(_ATTRIBUTES))


@dataclass(frozen=True, slots=True)
class Missing:
    """A place for which this person has no value, and for which nothing else is to be said."""

    name: str


class _NoValue(Exception):
    pass


def render(content: Mapping[str, Any], person: Person) -> dict[str, Any] | Missing:
    """Return the content as this person gets it, or the name of what is missing.

    A value is one line: the provider takes no others in a template.
    """

    def value(name: str, instead: str | None) -> str:
        found = shown(person.get(name))
        if not found and instead is None:
            raise _NoValue(name)
        return found or instead or ""

    try:
        return _filled(content, "", value)
    except _NoValue as missing:
        return Missing(str(missing))


def sample(content: Mapping[str, Any], person: Person) -> dict[str, Any]:
    """Return the content as this person would get it; the name of what is missing is shown in its place."""
    return _filled(content, "", lambda name, instead: shown(person.get(name)) or instead or f"[{name}]")


def places(content: Mapping[str, Any]) -> set[str]:
    """Return the names of the fields and attributes that a content has places for."""
    return {_name(match[1]) for text in texts(content) for match in _PLACE.finditer(text)}


def attribute_of(place: str) -> str | None:
    """Return the attribute that a place names; None if it is a field of every person."""
    return None if place in FIELDS else place.removeprefix(_ATTRIBUTES)


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else " ".join(str(value).split())


def _name(written: str) -> str:
    """Return what a place names; `contact.name` and `contact.attributes.city` are longer ways to write it."""
    name = written.strip().removeprefix("contact.")
    plain = name.removeprefix(_ATTRIBUTES)
    return name if plain in FIELDS else plain


def _filled(value: Any, key: str, find: Callable[[str, str | None], str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(inner, name, find) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, key, find) for inner in value]
    if not isinstance(value, str) or key in _NOT_WORDS or "{{" not in value:
        return value
    escape = _ESCAPES.get(key, str)
    return _PLACE.sub(lambda match: escape(find(_name(match[1]), _instead(match[2]))), value)


def _instead(written: str | None) -> str | None:
    return None if written is None else written.strip()


def texts(value: Any, key: str = "") -> Iterator[str]:
    """Yield every text of a content that has places."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, key)
    elif isinstance(value, str) and key not in _NOT_WORDS and "{{" in value:
        yield value


_ESCAPES: dict[str, Callable[[str], str]] = {"html": html.escape, **dict.fromkeys(_LINKS, lambda text: quote(text, ""))}
