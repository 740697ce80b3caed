"""What each type of message must hold and how much of it, checked before a message is accepted.

Limits are the Cloud API's (Meta, "Messages" of the Cloud API, 2026-09); a field error names the field, the limit and
the remedy. What passes goes to the provider as it is.
"""

import marshmallow as ma

from crm_tasks.messages.contents.basic import ContactSchema, LocationSchema, ReactionSchema, TextSchema
from crm_tasks.messages.contents.interactive import INTERACTIVE
from crm_tasks.messages.contents.media import AudioSchema, DocumentSchema, ImageSchema, StickerSchema, VideoSchema
from crm_tasks.messages.contents.shapes import ByType
from crm_tasks.messages.contents.template import TemplateSchema

MAX_CONTACTS = 257


class ContentsSchema(ma.Schema):
    """The objects of the types: a message has the one of its type."""

    text = ma.fields.Nested(TextSchema)
    image = ma.fields.Nested(ImageSchema)
    video = ma.fields.Nested(VideoSchema)
    audio = ma.fields.Nested(AudioSchema)
    document = ma.fields.Nested(DocumentSchema)
    sticker = ma.fields.Nested(StickerSchema)
    location = ma.fields.Nested(LocationSchema)
    contacts = ma.fields.List(
        ma.fields.Nested(ContactSchema),
        validate=ma.validate.Length(1, MAX_CONTACTS, error=f"Send 1 to {MAX_CONTACTS} contacts."),
    )
    reaction = ma.fields.Nested(ReactionSchema)
    template = ma.fields.Nested(TemplateSchema)
    interactive = ByType(INTERACTIVE)


TYPES = tuple(ContentsSchema._declared_fields)
