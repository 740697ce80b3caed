"""Text, location, contacts and reaction."""

from typing import Any

import marshmallow as ma

from crm_tasks.messages.contents.shapes import link, text

MAX_TEXT = 4096
_NAME_PARTS = ("first_name", "last_name", "middle_name", "suffix", "prefix")


class TextSchema(ma.Schema):
    """A text."""

    body = text(MAX_TEXT, required=True, error_messages=dict.fromkeys(("required", "null"), "Write what to say."))
    preview_url = ma.fields.Boolean()


class LocationSchema(ma.Schema):
    """A place."""

    latitude = ma.fields.Float(
        required=True, validate=ma.validate.Range(-90, 90, error="Write -90 to 90 degrees, north being positive.")
    )
    longitude = ma.fields.Float(
        required=True, validate=ma.validate.Range(-180, 180, error="Write -180 to 180 degrees, east being positive.")
    )
    name = text(1000)
    address = text(1000)


class ReactionSchema(ma.Schema):
    """An emoji on a message, by the message's provider id; an empty one takes it back."""

    message_id = text(512, required=True, error_messages={"required": "Name the message: its provider_id."})
    emoji = text(
        32,
        least=0,
        required=True,
        error_messages={"required": 'Write an emoji, or "" to take yours back.'},
    )


class _Part(ma.Schema):
    """A part of a contact. Clients send what they do not know as null: it is left out."""

    @ma.post_load
    def _known(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value is not None}


def _short(**options: Any) -> ma.fields.String:
    return text(255, least=0, allow_none=True, **options)


class ContactNameSchema(_Part):
    """The name of a contact: as it is shown, and at least one of its parts."""

    formatted_name = text(255, required=True, error_messages={"required": "Write the name as it is to be shown."})
    first_name = _short()
    last_name = _short()
    middle_name = _short()
    suffix = _short()
    prefix = _short()

    @ma.validates_schema
    def _has_a_part(self, data: dict[str, Any], **_: Any) -> None:
        if not any(data.get(part) for part in _NAME_PARTS):
            raise ma.ValidationError(f"Besides formatted_name give one of: {', '.join(_NAME_PARTS)}.")


class ContactPhoneSchema(_Part):
    """A phone number of a contact."""

    phone = _short()
    type = _short()
    wa_id = _short()


class ContactEmailSchema(_Part):
    """An e-mail address of a contact."""

    email = _short()
    type = _short()


class ContactUrlSchema(_Part):
    """A website of a contact."""

    url = link(allow_none=True)
    type = _short()


class ContactAddressSchema(_Part):
    """A postal address of a contact."""

    street = _short()
    city = _short()
    state = _short()
    zip = _short()
    country = _short()
    country_code = _short()
    type = _short()


class ContactOrgSchema(_Part):
    """Where a contact works."""

    company = _short()
    department = _short()
    title = _short()


class ContactSchema(_Part):
    """Somebody's card."""

    name = ma.fields.Nested(ContactNameSchema, required=True, error_messages={"required": "A contact needs a name."})
    phones = ma.fields.List(ma.fields.Nested(ContactPhoneSchema), allow_none=True)
    emails = ma.fields.List(ma.fields.Nested(ContactEmailSchema), allow_none=True)
    urls = ma.fields.List(ma.fields.Nested(ContactUrlSchema), allow_none=True)
    addresses = ma.fields.List(ma.fields.Nested(ContactAddressSchema), allow_none=True)
    org = ma.fields.Nested(ContactOrgSchema, allow_none=True)
    birthday = ma.fields.String(
        allow_none=True, validate=ma.validate.Regexp(r"^\d{4}-\d{2}-\d{2}$", error="Write a day as 1990-01-31.")
    )
