"""Image, video, audio, document and sticker: a file by its id or by a link."""

from typing import Any

import marshmallow as ma

from crm_tasks.messages.contents.shapes import left_out, link, text

MAX_CAPTION, MAX_FILENAME = 1024, 240
# What some kinds of files have and others have not.
_ONLY_WITH = {
    "caption": "Leave this out: only an image, a video or a document has a caption.",
    "filename": "Leave this out: only a document has a file name.",
    "voice": "Leave this out: only an audio can be a voice message.",
}


class MediaSchema(ma.Schema):
    """A file: by `id`, which is that of a file of `/media` here or one that the provider gave, or by `link`."""

    id = text(255, metadata={"description": "A file of `/api/v1/media`, or the provider's own id of an upload"})
    link = link(metadata={"description": "Where the provider fetches the file"})

    @ma.pre_load
    def _explain(self, data: Any, **_: Any) -> Any:
        for name in data if isinstance(data, dict) else ():
            if name in _ONLY_WITH and name not in self.fields:
                raise left_out(name, _ONLY_WITH[name])
        return data

    @ma.validates_schema
    def _one_source(self, data: dict[str, Any], **_: Any) -> None:
        if ("id" in data) == ("link" in data):
            raise ma.ValidationError("Give exactly one of id and link.")


class ImageSchema(MediaSchema):
    """A picture: JPEG or PNG, at most 5 MB."""

    caption = text(MAX_CAPTION)


class VideoSchema(MediaSchema):
    """A video: MP4 or 3GPP, at most 16 MB."""

    caption = text(MAX_CAPTION)


class AudioSchema(MediaSchema):
    """A sound: AAC, AMR, MP3, MP4 or OGG (Opus), at most 16 MB; `voice` shows an OGG as a voice message."""

    voice = ma.fields.Boolean()


class DocumentSchema(MediaSchema):
    """A document, at most 100 MB."""

    caption = text(MAX_CAPTION)
    filename = text(MAX_FILENAME)


class StickerSchema(MediaSchema):
    """A sticker: WebP, at most 100 KB, 500 KB if it moves."""


class HeaderMediaSchema(MediaSchema):
    """A picture or video above a message."""


class HeaderDocumentSchema(MediaSchema):
    """A document above a message."""

    filename = text(MAX_FILENAME)
