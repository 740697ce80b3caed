"""Exports as JSON: what may be asked for, and what is said of one."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import marshmallow as ma

from crm_tasks.campaigns.service.progress import STATES
from crm_tasks.contacts.audience import AudienceSchema
from crm_tasks.core.queues import Queue
from crm_tasks.exports import service
from crm_tasks.exports.models import Export, ExportFormat, ExportKind
from crm_tasks.messages.models import Direction

_SHORT = ma.validate.Length(1, 200, error="Write 1 to 200 characters.")
_WHEN: dict[str, Any] = {"invalid": "Write a moment with its zone, such as 2026-11-28T09:00:00Z."}


class _Period(ma.Schema):
    """Since one moment and before another."""

    since = ma.fields.AwareDateTime(error_messages=_WHEN)
    until = ma.fields.AwareDateTime(error_messages=_WHEN)

    @ma.validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        if "since" in data and "until" in data and data["since"] >= data["until"]:
            raise ma.ValidationError("This must be later than `since`.", "until")


class ContactFilters(ma.Schema):
    """Whose data: an audience; without one all contacts."""

    audience = ma.fields.Nested(AudienceSchema, load_default=lambda: {"all": True})


class ConversationFilters(_Period):
    """By channel, and by when something was last said."""

    channel_id = ma.fields.UUID()


class MessageFilters(_Period):
    """By channel, direction, and when they were made."""

    channel_id = ma.fields.UUID()
    direction = ma.fields.String(validate=ma.validate.OneOf(list(map(str, Direction))))


class RecipientFilters(ma.Schema):
    """Of which campaign, and in which state."""

    campaign_id = ma.fields.UUID(required=True, error_messages={"required": "Say of which campaign."})
    state = ma.fields.String(validate=ma.validate.OneOf(list(map(str, STATES))))


class DeadLetterFilters(ma.Schema):
    """By cause, task and queue."""

    fingerprint = ma.fields.String(validate=_SHORT)
    task = ma.fields.String(validate=_SHORT)
    queue = ma.fields.String(validate=ma.validate.OneOf(list(map(str, Queue))))


FILTERS: dict[ExportKind, type[ma.Schema]] = {
    ExportKind.CONTACTS: ContactFilters,
    ExportKind.CONVERSATIONS: ConversationFilters,
    ExportKind.MESSAGES: MessageFilters,
    ExportKind.RECIPIENTS: RecipientFilters,
    ExportKind.DEAD_LETTERS: DeadLetterFilters,
}


class ExportIn(ma.Schema):
    """What to export."""

    kind = ma.fields.Enum(ExportKind, by_value=True, required=True)
    format = ma.fields.Enum(ExportFormat, by_value=True, load_default=ExportFormat.CSV)
    filters = ma.fields.Dict(
        keys=ma.fields.String(),
        load_default=dict,
        metadata={
            "description": "contacts: `audience` (exactly one of all, tags, segment_id, contact_ids); conversations: "
            "`channel_id`, `since`, `until`; messages: those and `direction` (in, out); recipients: `campaign_id` "
            "(required), `state`; dead_letters: `fingerprint`, `task`, `queue`"
        },
    )

    @ma.post_load
    def _read_filters(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        schema = FILTERS[data["kind"]]()
        try:
            return {**data, "filters": schema.load(data["filters"])}
        except ma.ValidationError as error:
            raise ma.ValidationError({"filters": error.messages}) from None


class ExportProgressOut(ma.Schema):
    """How far it is; `total` and what follows from it are null until it has begun."""

    rows = ma.fields.Integer()
    total = ma.fields.Integer(allow_none=True)
    percent = ma.fields.Float(allow_none=True)
    rows_per_second = ma.fields.Float(allow_none=True)
    seconds_left = ma.fields.Float(allow_none=True)


class ExportReasonOut(ma.Schema):
    """Why there is no file."""

    code = ma.fields.String(allow_none=True)
    message = ma.fields.String()


class ExportLinkOut(ma.Schema):
    """Where the file is. Whoever has the link needs no key, until it expires; each look makes a new one."""

    url = ma.fields.String()
    expires_at = ma.fields.AwareDateTime()


class ExportOut(ma.Schema):
    """An export."""

    id = ma.fields.UUID()
    kind = ma.fields.String()
    format = ma.fields.String()
    filters = ma.fields.Dict()
    state = ma.fields.String()
    error = ma.fields.Nested(ExportReasonOut, allow_none=True)
    progress = ma.fields.Nested(ExportProgressOut)
    size = ma.fields.Integer(allow_none=True, metadata={"description": "Bytes"})
    link = ma.fields.Nested(ExportLinkOut, allow_none=True)
    downloads = ma.fields.Integer()
    actor = ma.fields.String()
    job_id = ma.fields.UUID(allow_none=True)
    created_at = ma.fields.AwareDateTime()
    started_at = ma.fields.AwareDateTime(allow_none=True)
    finished_at = ma.fields.AwareDateTime(allow_none=True)
    kept_until = ma.fields.AwareDateTime(allow_none=True)


_OUT = ExportOut(exclude=("error", "progress", "link", "kept_until"))
_PROGRESS, _LINK = ExportProgressOut(), ExportLinkOut()


def dump_export(found: Export, moment: datetime) -> dict[str, Any]:
    """Return an export as JSON, as it is at a moment."""
    link, kept_until = service.link(found, moment), service.kept_until(found)
    return {
        **_OUT.dump(found),
        "error": {"code": found.reason_code, "message": found.reason} if found.reason else None,
        "progress": _PROGRESS.dump(asdict(service.progress(found, moment))),
        "link": _LINK.dump(link) if link else None,
        "kept_until": kept_until.isoformat() if kept_until else None,
    }
