"""Files as JSON."""

from typing import Any

import marshmallow as ma

from crm_tasks.media.models import Media

MAX_LINK = 2048


class MediaLinkIn(ma.Schema):
    """A file to be fetched from a link."""

    channel_id = ma.fields.UUID(
        required=True,
        error_messages={"required": "Name the channel that will send it.", "invalid_uuid": "Not a channel's id."},
    )
    url = ma.fields.Url(
        required=True,
        schemes={"http", "https"},
        require_tld=False,
        validate=ma.validate.Length(max=MAX_LINK, error=f"Write at most {MAX_LINK} characters."),
        error_messages={
            "required": "Give the link to a file, or send the file itself as multipart/form-data.",
            "invalid": "Write an address that begins with https:// or http://.",
        },
    )


class MediaFormIn(ma.Schema):
    """What comes with a file that is sent itself."""

    channel_id = ma.fields.UUID(
        required=True,
        error_messages={"required": "Name the channel that will send it.", "invalid_uuid": "Not a channel's id."},
    )
    type = ma.fields.String(
        load_default=None, metadata={"description": "Its MIME type, if the part of the form does not say it"}
    )


class MediaErrorOut(ma.Schema):
    """Why a file is not here."""

    code = ma.fields.String()
    title = ma.fields.String()


class MediaOut(ma.Schema):
    """A file. Its content, once it is `stored`, is at `content_url`."""

    id = ma.fields.UUID()
    channel_id = ma.fields.UUID(allow_none=True)
    direction = ma.fields.String()
    state = ma.fields.String()
    error = ma.fields.Nested(MediaErrorOut, allow_none=True)
    mime_type = ma.fields.String(allow_none=True)
    sniffed_type = ma.fields.String(allow_none=True)
    filename = ma.fields.String(allow_none=True)
    size = ma.fields.Integer(allow_none=True)
    sha256 = ma.fields.String(allow_none=True)
    content_url = ma.fields.String(allow_none=True)
    job_id = ma.fields.UUID(allow_none=True)
    created_at = ma.fields.AwareDateTime()
    fetched_at = ma.fields.AwareDateTime(allow_none=True)


_MEDIA = MediaOut(exclude=("error", "content_url"))


def dump_media(media: Media, content_url: str) -> dict[str, Any]:
    """Return a file as JSON."""
    error = {"code": media.reason_code, "title": media.reason} if media.reason else None
    return {**_MEDIA.dump(media), "error": error, "content_url": content_url if media.storage_key else None}
