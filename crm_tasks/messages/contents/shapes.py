"""The pieces of which contents are made: limited texts, links, and objects whose `type` says what else is in them."""

from collections.abc import Iterator, Mapping
from typing import Any, Union

import marshmallow as ma

Shapes = Mapping[str, Union[type[ma.Schema], "ByType"]]
MAX_LINK = 2048


class ByType(ma.fields.Field):
    """An object that has the schema named by one of its fields, in any case. The document of the API shows all."""

    def __init__(self, shapes: Shapes, *, key: str = "type", **options: Any) -> None:
        super().__init__(**options)
        self.shapes, self.key = shapes, key

    def schemas(self) -> Iterator[type[ma.Schema]]:
        """Yield every schema that it may have."""
        for shape in dict.fromkeys(self.shapes.values()):
            if isinstance(shape, ByType):
                yield from shape.schemas()
            else:
                yield shape

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Any:
        if not isinstance(value, dict):
            raise ma.ValidationError("Invalid input type.")
        given = value.get(self.key)
        kind = given.lower() if isinstance(given, str) else given
        shape = self.shapes.get(kind) if isinstance(kind, str) else None
        if shape is None:
            raise ma.ValidationError({self.key: [f"Use one of: {', '.join(self.shapes)}."]})
        known = {**value, self.key: kind}
        return shape._deserialize(known, attr, data) if isinstance(shape, ByType) else shape().load(known)


def text(most: int, *, least: int = 1, **options: Any) -> ma.fields.String:
    """Return a text of limited length."""
    limit = ma.validate.Length(least, most, error=f"Write {least} to {most} characters.")
    return ma.fields.String(validate=limit, **options)


def only(*values: str) -> ma.fields.String:
    """Return a field that must have one of these values."""
    return ma.fields.String(
        required=True, validate=ma.validate.OneOf(values, error=f"Use one of: {', '.join(values)}.")
    )


def link(**options: Any) -> ma.fields.Url:
    """Return an address of the web."""
    problem = f"Write an address of at most {MAX_LINK} characters that begins with https:// or http://."
    return ma.fields.Url(
        schemes={"http", "https"},
        require_tld=False,
        validate=ma.validate.Length(max=MAX_LINK, error=problem),
        error_messages={"invalid": problem},
        **options,
    )


def left_out(name: str, why: str) -> ma.ValidationError:
    """Return the error of a field that has no place here."""
    return ma.ValidationError({name: [why]})


def repeated(values: list[str]) -> str | None:
    """Return the first value that occurs twice."""
    return next((value for position, value in enumerate(values) if value in values[:position]), None)
