"""`/api/schedule-sms` and `/api/schedule-email`: the calls of earlier systems, which go on working.

`workspaceId` and `contactId` are required, as nothing is guessed. The API key decides which workspace it is.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import marshmallow as ma
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Invalid
from crm_tasks.email.service import accept as email
from crm_tasks.messages.models import Message
from crm_tasks.messages.schemas import WHEN, Metadata
from crm_tasks.messages.service import earlier, outbox
from crm_tasks.messages.service.outbox import LATEST
from webapp.api.once import DOCUMENTED, once
from webapp.api.reading import Blueprint
from webapp.auth import caller

PREFIX = "/api"
LONGEST = LATEST // timedelta(milliseconds=1)
_THEIRS = {
    "scheduled_for": "scheduledFor",
    "text.body": "message",
    "email.subject": "subject",
    "email.html": "html",
    "channel_id": "channelId",
}
blueprint = Blueprint("earlier", __name__, description="One SMS or mail, as earlier systems asked for it")


class Name(ma.fields.Field):
    """An id of the caller's: a text or a whole number, each checked as what it is; kept as a text."""

    def __init__(self, what: str, data_key: str) -> None:
        shape = {"oneOf": [{"type": "string", "minLength": 1, "maxLength": 200}, {"type": "integer"}]}
        missing = f"Name the {what}."
        super().__init__(
            required=True, data_key=data_key, metadata=shape, error_messages={"required": missing, "null": missing}
        )

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if isinstance(value, str):
            if not value.strip():
                raise ma.ValidationError("Write at least one character.")
            if len(value) > 200:
                raise ma.ValidationError("Write at most 200 characters.")
            return value.strip()
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise ma.ValidationError("Give a text or a whole number.")


def _text(what: str, most: int, *, required: bool = True, data_key: str | None = None) -> ma.fields.String:
    limit = ma.validate.Length(1, most, error=f"Write 1 to {most} characters.")
    told: dict[str, Any] = {"required": what, "null": what}
    return ma.fields.String(required=required, data_key=data_key, validate=limit, error_messages=told)


class ScheduleIn(ma.Schema):
    """What both have. `scheduledFor` counts if both it and `delay` are given; without either it is now."""

    contact_id = Name("contact", "contactId")
    workspace_id = Name("workspace", "workspaceId")
    delay = ma.fields.Integer(
        strict=True,
        allow_none=True,
        validate=ma.validate.Range(0, LONGEST, error="Give 0 milliseconds to 366 days."),
        metadata={"description": "Milliseconds from now"},
    )
    scheduled_for = ma.fields.AwareDateTime(data_key="scheduledFor", allow_none=True, error_messages=WHEN)
    metadata = Metadata(allow_none=True)
    channel_id = ma.fields.UUID(
        data_key="channelId",
        allow_none=True,
        metadata={"description": "Which channel; the oldest of its kind by default"},
        error_messages={"invalid_uuid": "This is not a channel's id."},
    )


class SmsIn(ScheduleIn):
    """An SMS. The number is `to`, or `phoneNumber` as the oldest callers have it."""

    to = _text("Give the phone number.", 200, required=False)
    phone_number = _text("Give the phone number.", 200, required=False, data_key="phoneNumber")
    message = _text("Write what to say.", 4096)

    @ma.validates_schema
    def _one_number(self, data: dict[str, Any], **_: Any) -> None:
        if "to" not in data and "phone_number" not in data:
            raise ma.ValidationError("Give the phone number, such as +14155550123.", "to")
        if "to" in data and data.get("phone_number", data["to"]) != data["to"]:
            raise ma.ValidationError("Leave this out, or give the same number as in `to`.", "phoneNumber")


class EmailIn(ScheduleIn):
    """A mail."""

    to = _text("Give the e-mail address.", 320)
    subject = _text("Write a subject.", 998)
    html = _text("Write the mail, as HTML.", 1_000_000)


class ScheduledOut(ma.Schema):
    """It is kept and will be sent. `/api/v1/messages/<messageId>` says how it goes."""

    success = ma.fields.Boolean(required=True)
    job_id = ma.fields.UUID(required=True, data_key="jobId")
    message_id = ma.fields.UUID(required=True, data_key="messageId")
    scheduled_for = ma.fields.AwareDateTime(required=True, data_key="scheduledFor")


@blueprint.route("/schedule-sms", methods=["POST"])
@blueprint.arguments(SmsIn)
@blueprint.alt_response(202, schema=ScheduledOut)
@blueprint.doc(parameters=DOCUMENTED)
def schedule_sms(given: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Send an SMS, now or later."""
    to = given.get("to") or given["phone_number"]
    return _accept(given, outbox.send_to, medium="sms", to=to, content={"body": given["message"]})


@blueprint.route("/schedule-email", methods=["POST"])
@blueprint.arguments(EmailIn)
@blueprint.alt_response(202, schema=ScheduledOut)
@blueprint.doc(parameters=DOCUMENTED)
def schedule_email(given: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Send a mail, now or later."""
    content = {"subject": given["subject"], "html": given["html"]}
    return _accept(given, email.send_to, medium="email", to=given["to"], content=content)


def _accept(given: dict[str, Any], send_to: earlier.SendTo, **what: Any) -> tuple[dict[str, Any], int]:
    delay = given.get("delay")
    order = earlier.Order(
        their_workspace_id=given["workspace_id"],
        their_contact_id=given["contact_id"],
        delay=None if delay is None else timedelta(milliseconds=delay),
        scheduled_for=given.get("scheduled_for"),
        metadata=given.get("metadata") or {},
        channel_id=given.get("channel_id"),
        **what,
    )
    workspace_id = caller().workspace_id

    def make(session: Session) -> dict[str, Any]:
        try:
            return _dump(earlier.accept(session, workspace_id, order, send_to=send_to))
        except Invalid as error:
            raise _in_their_words(error) from None

    return once(make)


def _in_their_words(error: Invalid) -> Invalid:
    """Return an error with the fields named as the caller has them."""
    fields = [replace(each, field=_THEIRS.get(each.field, each.field)) for each in error.fields]
    return Invalid(error.message, code=error.code, hint=error.hint, fields=fields)


def _dump(message: Message) -> dict[str, Any]:
    return ScheduledOut().dump(
        {
            "success": True,
            "job_id": message.job_id,
            "message_id": message.id,
            "scheduled_for": message.scheduled_for or message.occurred_at,
        }
    )
