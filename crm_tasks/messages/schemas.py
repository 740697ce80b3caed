"""What comes in and goes out as JSON. Limits are the Cloud API's; a field error names the limit and the remedy."""

import json
from typing import Any

import marshmallow as ma

from crm_tasks.contacts.models import Contact
from crm_tasks.messages.contents import TYPES as CONTENTS
from crm_tasks.messages.contents import ContentsSchema
from crm_tasks.messages.contents.email import EmailSchema
from crm_tasks.messages.contents.template import TemplateSchema
from crm_tasks.messages.models import Category, Conversation, Message
from crm_tasks.messages.service.conversations import closes_at
from crm_tasks.messages.service.history import Shown

TYPES = (*CONTENTS, "email")
MAX_WAYS, MAX_METADATA, MAX_METADATA_BYTES = 5, 50, 8_000
WHEN: dict[str, Any] = {
    "invalid": "Write a moment with its time zone, such as 2027-01-31T09:00:00+01:00.",
    "invalid_awareness": "Add the time zone, such as +01:00 or Z.",
}
_CATEGORIES = tuple(map(str, Category))


class ContextSchema(ma.Schema):
    """The message that this one replies to, by its provider id."""

    message_id = ma.fields.String(
        required=True, validate=ma.validate.Length(1, 512, error="Give the message's provider_id.")
    )


class Metadata(ma.fields.Dict):
    """Data of the sender's own: a few names with short values."""

    def __init__(self, **options: Any) -> None:
        values = ma.validate.Length(max=MAX_METADATA, error=f"Give at most {MAX_METADATA} of them.")
        super().__init__(keys=ma.fields.String(validate=ma.validate.Length(1, 100)), validate=values, **options)

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        found = super()._deserialize(value, *args, **options)
        if len(json.dumps(found)) > MAX_METADATA_BYTES:
            raise ma.ValidationError(f"Write at most {MAX_METADATA_BYTES} bytes of JSON.")
        return found


class NewMessageSchema(ContentsSchema):
    """A message to send: to whom, through which channel, of which type, and the object of that type."""

    channel_id = ma.fields.UUID(
        required=True,
        error_messages={"required": "Name the channel that sends.", "invalid_uuid": "This is not a channel's id."},
    )
    to = ma.fields.String(
        required=True,
        validate=ma.validate.Length(1, 200, error="Give a phone number such as +14155550123, or a user id."),
        error_messages={"required": "Give a phone number such as +14155550123, or a user id."},
    )
    type = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(TYPES, error=f"Use one of: {', '.join(TYPES)}."),
        error_messages={"required": f"Say which type: {', '.join(TYPES)}."},
    )
    email = ma.fields.Nested(EmailSchema)
    context = ma.fields.Nested(ContextSchema)
    fallback_template = ma.fields.Nested(
        TemplateSchema, metadata={"description": "Sent instead if the 24-hour window is closed by then"}
    )
    category = ma.fields.String(
        validate=ma.validate.OneOf(_CATEGORIES, error=f"Use one of: {', '.join(_CATEGORIES)}."),
        metadata={"description": "What the message is for; `service` by default"},
    )
    scheduled_for = ma.fields.AwareDateTime(
        metadata={"description": "Not before: ISO 8601 with a time zone; what is past is now"}, error_messages=WHEN
    )
    fallback = ma.fields.Nested(lambda: FallbackSchema())
    metadata = Metadata(metadata={"description": "Kept with an SMS or a mail, and passed on to its gateway"})

    @ma.validates_schema
    def _content_of_its_type(self, data: dict[str, Any], **_: Any) -> None:
        kind = data.get("type")
        if kind in TYPES and kind not in data:
            raise ma.ValidationError(f"A message of type {kind} needs this object.", kind)
        for other in TYPES:
            if other != kind and other in data:
                raise ma.ValidationError(f"Leave this out of a message of type {kind}.", other)
        if kind == "template" and "fallback_template" in data:
            raise ma.ValidationError("Leave this out: a template needs no open window.", "fallback_template")
        if "fallback_template" in data and "template" in data.get("fallback", {}):
            raise ma.ValidationError("Give it once: here or in `fallback`.", "fallback_template")
        if kind == "reaction" and "context" in data:
            raise ma.ValidationError("Leave this out: a reaction names its message itself.", "context")


class MarkReadIn(ma.Schema):
    """How a message is marked as read."""

    typing = ma.fields.Boolean(
        load_default=False, metadata={"description": "Also show for 25 s, or until a message, that somebody types"}
    )


class MarkReadOut(ma.Schema):
    """The job that tells the provider."""

    message_id = ma.fields.UUID()
    job_id = ma.fields.UUID()


class WaySchema(NewMessageSchema):
    """Another way to say it: the channel, the type and its object."""

    class Meta:
        """The rest is that of the message."""

        exclude = ("to", "context", "category", "scheduled_for", "fallback", "fallback_template", "metadata")


class FallbackSchema(ma.Schema):
    """What instead, if the message cannot be sent as it is."""

    channels = ma.fields.List(
        ma.fields.Nested(WaySchema),
        validate=ma.validate.Length(1, MAX_WAYS, error=f"Give 1 to {MAX_WAYS} other ways."),
        metadata={"description": "Tried in turn when a provider says that it cannot reach this person"},
    )
    template = ma.fields.Nested(TemplateSchema, metadata={"description": "The same as `fallback_template`"})


class ReactionOut(ma.Schema):
    """Somebody's reaction."""

    sender = ma.fields.String(data_key="from", attribute="from")
    emoji = ma.fields.String()
    at = ma.fields.AwareDateTime()


class MessageOut(ma.Schema):
    """A message, either way."""

    id = ma.fields.UUID()
    conversation_id = ma.fields.UUID()
    contact_id = ma.fields.UUID(allow_none=True)
    channel_id = ma.fields.UUID()
    direction = ma.fields.String()
    type = ma.fields.String()
    content = ma.fields.Dict()
    text = ma.fields.String(allow_none=True)
    state = ma.fields.String()
    category = ma.fields.String()
    author = ma.fields.String()
    provider_id = ma.fields.String(allow_none=True)
    context_provider_id = ma.fields.String(allow_none=True)
    answer_id = ma.fields.UUID(allow_none=True)
    media_id = ma.fields.UUID(allow_none=True)
    error = ma.fields.Dict(allow_none=True)
    occurred_at = ma.fields.AwareDateTime()
    created_at = ma.fields.AwareDateTime()
    accepted_at = ma.fields.AwareDateTime(allow_none=True)
    sent_at = ma.fields.AwareDateTime(allow_none=True)
    delivered_at = ma.fields.AwareDateTime(allow_none=True)
    read_at = ma.fields.AwareDateTime(allow_none=True)
    failed_at = ma.fields.AwareDateTime(allow_none=True)
    job_id = ma.fields.UUID(allow_none=True)
    trace_id = ma.fields.UUID(allow_none=True)
    scheduled_for = ma.fields.AwareDateTime(allow_none=True)
    parts = ma.fields.Integer(allow_none=True, metadata={"description": "How many SMS it is"})
    cost = ma.fields.Integer(
        allow_none=True, metadata={"description": "By the prices of the workspace, in millionths of its currency"}
    )
    gates = ma.fields.List(
        ma.fields.Dict(), allow_none=True, metadata={"description": "What speaks against sending it, or sending it now"}
    )
    fallback_of = ma.fields.UUID(
        allow_none=True, metadata={"description": "The message that this one was sent instead of"}
    )
    edited = ma.fields.Dict(allow_none=True)
    edited_at = ma.fields.AwareDateTime(allow_none=True)
    deleted_at = ma.fields.AwareDateTime(allow_none=True)
    reactions = ma.fields.List(ma.fields.Nested(ReactionOut))


class ContactOut(ma.Schema):
    """A person, in short."""

    id = ma.fields.UUID()
    name = ma.fields.String(allow_none=True)
    username = ma.fields.String(allow_none=True)


class ConversationOut(ma.Schema):
    """A conversation. Free text may be sent until `window_open_until`; after that, templates."""

    id = ma.fields.UUID()
    channel_id = ma.fields.UUID()
    group_id = ma.fields.String(allow_none=True)
    contact = ma.fields.Nested(ContactOut, allow_none=True)
    last_message_at = ma.fields.AwareDateTime(allow_none=True)
    last_inbound_at = ma.fields.AwareDateTime(allow_none=True)
    window_open_until = ma.fields.AwareDateTime(allow_none=True)
    human_since = ma.fields.AwareDateTime(allow_none=True)
    human_by = ma.fields.String(allow_none=True)
    created_at = ma.fields.AwareDateTime()


_MESSAGE, _CONVERSATION = MessageOut(), ConversationOut()


def dump_message(shown: Shown | Message) -> dict[str, Any]:
    """Return a message as JSON."""
    shown = shown if isinstance(shown, Shown) else Shown(shown)
    later = {
        "edited": shown.edited,
        "edited_at": shown.edited_at,
        "deleted_at": shown.deleted_at,
        "reactions": shown.reactions,
    }
    return _MESSAGE.dump(shown.message) | MessageOut(only=tuple(later)).dump(later)


def dump_conversation(row: tuple[Conversation, Contact | None]) -> dict[str, Any]:
    """Return a conversation as JSON."""
    conversation, contact = row
    until = closes_at(conversation.last_inbound_at)
    fields = {
        name: getattr(conversation, name)
        for name in (
            *("id", "channel_id", "group_id", "last_message_at", "last_inbound_at", "created_at"),
            *("human_since", "human_by"),
        )
    }
    return _CONVERSATION.dump({**fields, "contact": contact, "window_open_until": until})
