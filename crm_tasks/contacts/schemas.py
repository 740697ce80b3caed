"""Contacts, attributes and segments as JSON."""

import re
from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma

from crm_tasks.contacts.audience import LONGEST_TAG
from crm_tasks.contacts.models import AttributeType, Contact, Identity, IdentityKind

MOST_TAGS = 50
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")


def tidy(tags: Iterable[str]) -> list[str]:
    """Return tags as they are kept: lower case, each once, sorted."""
    return sorted({tag.strip().lower() for tag in tags})


class Tags(ma.fields.List):
    """Tags, tidied."""

    def __init__(self, **more: Any) -> None:
        each = ma.fields.String(validate=ma.validate.Length(1, LONGEST_TAG))
        super().__init__(each, validate=ma.validate.Length(max=MOST_TAGS), **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> list[Any]:
        found = tidy(map(str, super()._deserialize(value, attr, data, **more)))
        if "" in found:
            raise ma.ValidationError("A tag needs a letter or a digit.")
        return found


class TimeZone(ma.fields.String):
    """The IANA name of a time zone."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        name = super()._deserialize(value, attr, data, **more)
        try:
            return ZoneInfo(name).key
        except (KeyError, ValueError, OSError):
            raise ma.ValidationError("Use a name such as Europe/Berlin.") from None


class Locale(ma.fields.String):
    """A BCP 47 tag."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        name = super()._deserialize(value, attr, data, **more)
        if not _LOCALE.fullmatch(name):
            raise ma.ValidationError("Use a tag such as de or pt-BR.")
        return name.replace("_", "-")


class ContactIn(ma.Schema):
    """What to keep of a person. What is left out stays as it is; null takes it away."""

    name = ma.fields.String(allow_none=True, validate=ma.validate.Length(1, 200))
    phone = ma.fields.String(
        allow_none=True, validate=ma.validate.Length(1, 64), metadata={"description": "In any writing"}
    )
    email = ma.fields.String(allow_none=True, validate=ma.validate.Length(1, 320))
    bsuid = ma.fields.String(
        allow_none=True,
        validate=ma.validate.Regexp(r"^[A-Z]{2}\.[A-Za-z0-9]{1,128}\Z", error="Give an id such as US.13491208655."),
        metadata={"description": "WhatsApp's business-scoped user id"},
    )
    external_id = ma.fields.String(
        allow_none=True, validate=ma.validate.Length(1, 200), metadata={"description": "The business's own id"}
    )
    attributes = ma.fields.Dict(
        keys=ma.fields.String(),
        metadata={"description": "By name; a name that is left out stays, null takes its value away"},
    )
    tags = Tags(metadata={"description": "All of them: these take the place of the earlier ones"})
    time_zone = TimeZone(allow_none=True, metadata={"description": "Such as Europe/Berlin"})
    locale = Locale(allow_none=True, metadata={"description": "Such as de or pt-BR"})
    assigned_to = ma.fields.UUID(allow_none=True, metadata={"description": "The user who looks after this person"})


class IdentityOut(ma.Schema):
    """One name of a person on the channels."""

    kind = ma.fields.String()
    value = ma.fields.String()
    created_at = ma.fields.AwareDateTime()
    retired_at = ma.fields.AwareDateTime(allow_none=True)
    unreachable_at = ma.fields.AwareDateTime(allow_none=True)
    unreachable_reason = ma.fields.String(allow_none=True)


class PersonOut(ma.Schema):
    """A person. Of somebody erased there is only the id left, and since when."""

    id = ma.fields.UUID()
    name = ma.fields.String(allow_none=True)
    username = ma.fields.String(allow_none=True)
    phone = ma.fields.String(allow_none=True)
    email = ma.fields.String(allow_none=True)
    external_id = ma.fields.String(allow_none=True)
    identities = ma.fields.List(ma.fields.Nested(IdentityOut))
    attributes = ma.fields.Dict()
    tags = ma.fields.List(ma.fields.String())
    time_zone = ma.fields.String(allow_none=True)
    locale = ma.fields.String(allow_none=True)
    assigned_to = ma.fields.UUID(allow_none=True)
    duplicate_of = ma.fields.UUID(allow_none=True)
    import_id = ma.fields.UUID(allow_none=True)
    created_at = ma.fields.AwareDateTime()
    updated_at = ma.fields.AwareDateTime()
    erased_at = ma.fields.AwareDateTime(allow_none=True)


class ConsentEventOut(ma.Schema):
    """One word of consent or refusal, with what proves it."""

    id = ma.fields.UUID()
    address = ma.fields.String()
    medium = ma.fields.String()
    scope = ma.fields.String()
    allowed = ma.fields.Boolean()
    reason = ma.fields.String()
    actor = ma.fields.String()
    evidence = ma.fields.Dict()
    occurred_at = ma.fields.AwareDateTime()


class AttributeOut(ma.Schema):
    """A field that the business keeps of its contacts."""

    name = ma.fields.String()
    type = ma.fields.String()
    created_at = ma.fields.AwareDateTime()


class AttributeIn(ma.Schema):
    """A name and the type of its values."""

    name = ma.fields.String(required=True)
    type = ma.fields.String(required=True, validate=ma.validate.OneOf(list(map(str, AttributeType))))


class SegmentChange(ma.Schema):
    """What to change of a segment."""

    name = ma.fields.String(validate=ma.validate.Length(1, 200))
    conditions = ma.fields.Dict(
        metadata={
            "description": '{"all": […]}, {"any": […]}, {"not": …} or {"field", "op", "value"}, nested',
            "example": {"all": [{"field": "tags", "op": "has", "value": "vip"}]},
        }
    )


class NewSegment(SegmentChange):
    """Conditions to keep under a name."""

    name = ma.fields.String(required=True, validate=ma.validate.Length(1, 200))
    conditions = ma.fields.Dict(required=True)


class SegmentOut(ma.Schema):
    """A segment."""

    id = ma.fields.UUID()
    name = ma.fields.String()
    conditions = ma.fields.Dict()
    created_at = ma.fields.AwareDateTime()
    changed_at = ma.fields.AwareDateTime()


_PERSON = PersonOut()


def dump_contact(contact: Contact, identities: Iterable[Identity]) -> dict[str, Any]:
    """Return a contact with its names as JSON."""
    named = list(identities)
    columns = (column.key for column in Contact.__table__.columns if column.key not in ("workspace_id", "profile_at"))
    values: dict[str, Any] = {name: getattr(contact, name) for name in columns}
    for kind in (IdentityKind.PHONE, IdentityKind.EMAIL):
        values[kind] = next((each.value for each in named if each.kind is kind and each.retired_at is None), None)
    return _PERSON.dump({**values, "identities": named})
