"""What an e-mail must hold. The room of e-mails looks closer, at addresses, headers, and whether a template fits."""

from typing import Any

import marshmallow as ma


class AttachmentSchema(ma.Schema):
    """A file: its bytes, or the id of one that was uploaded."""

    name = ma.fields.String(validate=ma.validate.Length(1, 255, error="Give the file a name of 1 to 255 characters."))
    media_type = ma.fields.String(validate=ma.validate.Length(1, 120))
    data = ma.fields.String(metadata={"description": "Its bytes in base64; 20 MB in all"})
    media_id = ma.fields.UUID(metadata={"description": "In place of data: an id of /api/v1/media"})

    @ma.validates_schema
    def _whole(self, data: dict[str, Any], **_: Any) -> None:
        if ("data" in data) == ("media_id" in data):
            raise ma.ValidationError("Give the file's bytes in base64, or a media_id.", "data")
        for name in ("name", "media_type"):
            if "data" in data and name not in data:
                raise ma.ValidationError("This is needed beside data.", name)


class EmailSchema(ma.Schema):
    """An e-mail: its own words, or a template with values for its places."""

    subject = ma.fields.String(validate=ma.validate.Length(1, 998, error="Write 1 to 998 characters."))
    html = ma.fields.String(validate=ma.validate.Length(max=1024 * 1024))
    text = ma.fields.String(validate=ma.validate.Length(max=1024 * 1024))
    template = ma.fields.UUID(metadata={"description": "In place of subject, html and text"})
    variables = ma.fields.Dict(keys=ma.fields.String())
    reply_to = ma.fields.String(validate=ma.validate.Length(max=320))
    headers = ma.fields.Dict(
        keys=ma.fields.String(validate=ma.validate.Length(1, 76)),
        values=ma.fields.String(validate=ma.validate.Length(max=998)),
        validate=ma.validate.Length(max=20, error="Give at most 20 headers."),
    )
    attachments = ma.fields.List(
        ma.fields.Nested(AttachmentSchema), validate=ma.validate.Length(max=10, error="Give at most 10 files.")
    )

    @ma.validates_schema
    def _words(self, data: dict[str, Any], **_: Any) -> None:
        own = [name for name in ("subject", "html", "text") if data.get(name)]
        if data.get("template") and own:
            raise ma.ValidationError("Leave this out beside a template.", own[0])
        if not data.get("template") and "subject" not in data:
            raise ma.ValidationError("Write a subject, or name a template.", "subject")
