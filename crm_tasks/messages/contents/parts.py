"""What interactive messages are made of: header, body, footer, sections."""

from typing import Any

import marshmallow as ma

from crm_tasks.messages.contents.media import HeaderDocumentSchema, HeaderMediaSchema
from crm_tasks.messages.contents.shapes import left_out, only, text

MAX_BODY, MAX_LIST_BODY, MAX_FOOTER, MAX_HEADER, MAX_SECTIONS = 1024, 4096, 60, 60, 10
_PARTS = ("header", "body", "footer")


def many(shape: type[ma.Schema], most: int, what: str) -> ma.fields.List:
    """Return a list of so many of these at most."""
    limit = ma.validate.Length(1, most, error=f"Give 1 to {most} {what}.")
    return ma.fields.List(ma.fields.Nested(shape), required=True, validate=limit)


class TextHeaderSchema(ma.Schema):
    """Words above a message."""

    type = only("text")
    text = text(MAX_HEADER, required=True)


class ImageHeaderSchema(ma.Schema):
    """A picture above a message."""

    type = only("image")
    image = ma.fields.Nested(HeaderMediaSchema, required=True)


class VideoHeaderSchema(ma.Schema):
    """A video above a message."""

    type = only("video")
    video = ma.fields.Nested(HeaderMediaSchema, required=True)


class DocumentHeaderSchema(ma.Schema):
    """A document above a message."""

    type = only("document")
    document = ma.fields.Nested(HeaderDocumentSchema, required=True)


TEXT_HEADER = {"text": TextHeaderSchema}
ANY_HEADER = {
    **TEXT_HEADER,
    "image": ImageHeaderSchema,
    "video": VideoHeaderSchema,
    "document": DocumentHeaderSchema,
}


class BodySchema(ma.Schema):
    """The words of a message."""

    text = text(MAX_BODY, required=True)


class ListBodySchema(ma.Schema):
    """The words of a list."""

    text = text(MAX_LIST_BODY, required=True)


class FooterSchema(ma.Schema):
    """Small print below a message."""

    text = text(MAX_FOOTER, required=True)


class Interactive(ma.Schema):
    """What each interactive message explains of itself."""

    @ma.pre_load
    def _explain(self, data: Any, **_: Any) -> Any:
        for name in _PARTS:
            if name in data and name not in self.fields:
                raise left_out(name, f"Leave this out: an interactive message of type {data['type']} has no {name}.")
        return data


def titled(sections: list[dict[str, Any]]) -> None:
    """Check that several sections can be told apart.

    Raises:
        ValidationError: one has no title.
    """
    if len(sections) > 1 and not all(section.get("title") for section in sections):
        raise ma.ValidationError("With several sections each needs a title.", "sections")
