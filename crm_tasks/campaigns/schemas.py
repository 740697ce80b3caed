"""Campaigns as JSON: what comes in and what goes out. Money is in the currency of the workspace's prices."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.service.guards import GUARDS
from crm_tasks.campaigns.service.progress import Stats
from crm_tasks.contacts.audience import AudienceSchema
from crm_tasks.messages.schemas import NewMessageSchema

MILLION = 1_000_000
MAX_NAME, MAX_CODES, MAX_BUDGET = 200, 50, 1e9
WHEN = "Write a moment such as 2027-01-31T09:00:00+01:00, or a local time beside `time_zone`."


def _is_zone(text: str) -> None:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ma.ValidationError(f"There is no time zone {text[:64]!r}: use a name such as Europe/Berlin.") from None


def _money(what: str) -> ma.fields.Float:
    return ma.fields.Float(
        allow_none=True,
        validate=ma.validate.Range(0, MAX_BUDGET, error="Write an amount from 0 on."),
        metadata={"description": what},
    )


class CampaignMessageSchema(NewMessageSchema):
    """What everybody gets, with places for their values such as `{{city|there}}`."""

    class Meta:
        """To whom, through what and when the campaign says."""

        exclude = ("to", "channel_id", "context", "scheduled_for", "fallback", "fallback_template", "reaction")

    @ma.validates_schema
    def _says_something(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("type") == "reaction":
            raise ma.ValidationError("A reaction answers one message: it cannot go to many.", "type")


class GuardsSchema(ma.Schema):
    """When a campaign is stopped by itself. What is left out is as usual."""

    failure_share = ma.fields.Float(
        validate=ma.validate.Range(0, 1, error="Write a share from 0 to 1."),
        metadata={"description": f"Halt above this share of failures; {GUARDS['failure_share']} by default"},
    )
    opt_out_share = ma.fields.Float(
        validate=ma.validate.Range(0, 1, error="Write a share from 0 to 1."),
        metadata={"description": f"Halt above this share of opt-outs; {GUARDS['opt_out_share']} by default"},
    )
    minimum = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, 100_000, error="Write 1 to 100000."),
        metadata={"description": f"Judge by no fewer recipients than these; {GUARDS['minimum']} by default"},
    )
    canary_share = ma.fields.Float(
        validate=ma.validate.Range(0, 1, error="Write a share from 0 to 1."),
        metadata={"description": f"The share that goes first; {GUARDS['canary_share']} by default, 0 is nobody"},
    )
    canary_min = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, 10_000, error="Write 1 to 10000."),
        metadata={"description": f"How many go first at least; {GUARDS['canary_min']} by default"},
    )
    canary_wait = ma.fields.Float(
        validate=ma.validate.Range(0, 3600, error="Write seconds from 0 to 3600."),
        metadata={"description": f"Seconds to wait for their results; {GUARDS['canary_wait']} by default"},
    )


class CampaignIn(ma.Schema):
    """A new campaign."""

    name = ma.fields.String(
        required=True,
        validate=ma.validate.Length(1, MAX_NAME, error=f"Write a name of 1 to {MAX_NAME} characters."),
        error_messages={"required": "Give the campaign a name."},
    )
    channel_id = ma.fields.UUID(
        required=True,
        error_messages={"required": "Name the channel that sends.", "invalid_uuid": "This is not a channel's id."},
    )
    message = ma.fields.Nested(
        CampaignMessageSchema, required=True, error_messages={"required": "Say what everybody gets."}
    )
    audience = ma.fields.Nested(AudienceSchema, required=True, error_messages={"required": "Say who gets it."})
    scheduled_for = ma.fields.DateTime(
        allow_none=True,
        format="iso",
        error_messages={"invalid": WHEN},
        metadata={"description": "When it starts: with an offset, or as a local time in `time_zone`"},
    )
    time_zone = ma.fields.String(
        allow_none=True, validate=_is_zone, metadata={"description": "IANA name, such as Europe/Berlin"}
    )
    budget = _money("At most this may be spent; it is halted before it would spend more")
    guards = ma.fields.Nested(GuardsSchema)

    @ma.validates_schema
    def _has_a_zone(self, data: dict[str, Any], **_: Any) -> None:
        at = data.get("scheduled_for")
        if at is not None and at.tzinfo is None and not data.get("time_zone"):
            raise ma.ValidationError("Add the time zone, such as +01:00 or Z, or give `time_zone`.", "scheduled_for")


class CampaignChange(CampaignIn):
    """What to change; what is left out stays."""

    class Meta:
        """It stays on its channel."""

        exclude = ("channel_id",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "partial": True})


class TestIn(ma.Schema):
    """To whom the message is sent on trial."""

    to = ma.fields.String(
        required=True,
        validate=ma.validate.Length(1, 200),
        error_messages={"required": "Give your own phone number, user id or e-mail address."},
    )


class RetryIn(ma.Schema):
    """Which of the failed are sent again."""

    codes = ma.fields.List(
        ma.fields.String(validate=ma.validate.Length(1, 100)),
        load_default=list,
        validate=ma.validate.Length(max=MAX_CODES),
        metadata={"description": "Only those that failed with one of these codes (see `failures`); all by default"},
    )


class FailureOut(ma.Schema):
    """How many came to nothing for one reason."""

    state = ma.fields.String()
    code = ma.fields.String()
    title = ma.fields.String(allow_none=True)
    count = ma.fields.Integer()


class CampaignOut(ma.Schema):
    """A campaign."""

    id = ma.fields.UUID()
    name = ma.fields.String()
    channel_id = ma.fields.UUID()
    message = ma.fields.Dict()
    audience = ma.fields.Dict()
    state = ma.fields.String()
    scheduled_for = ma.fields.AwareDateTime(allow_none=True)
    time_zone = ma.fields.String(allow_none=True)
    guards = ma.fields.Dict()
    halted_by = ma.fields.Dict(
        allow_none=True, metadata={"description": "The guard that stopped it: rule, value, limit"}
    )
    planned_at = ma.fields.AwareDateTime(allow_none=True)
    rehearsed_at = ma.fields.AwareDateTime(allow_none=True)
    created_by = ma.fields.String()
    created_at = ma.fields.AwareDateTime()
    started_at = ma.fields.AwareDateTime(allow_none=True)
    finished_at = ma.fields.AwareDateTime(allow_none=True)
    trace_id = ma.fields.UUID(allow_none=True)


class CampaignStatsOut(CampaignOut):
    """A campaign and how it goes."""

    budget = ma.fields.Float(allow_none=True)
    cost = ma.fields.Float(metadata={"description": "What was spent so far, or may have been"})
    counts = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.Integer(),
        metadata={"description": "`audience`, one figure per state of its recipients, which add up to it; `replies`"},
    )
    failures = ma.fields.List(ma.fields.Nested(FailureOut))
    rehearsing = ma.fields.Boolean(metadata={"description": "Whether the forecast is being made"})
    rehearsal = ma.fields.Dict(allow_none=True, metadata={"description": "The forecast; see docs/howto/broadcast.md"})
    job_id = ma.fields.UUID(metadata={"description": "The job that does what was asked for"})


class RecipientOut(ma.Schema):
    """One person of a campaign."""

    contact_id = ma.fields.UUID()
    position = ma.fields.Integer()
    state = ma.fields.String()
    forecast = ma.fields.String(allow_none=True)
    code = ma.fields.String(allow_none=True, metadata={"description": "Why it is not sent, or failed"})
    reason = ma.fields.String(allow_none=True)
    message_id = ma.fields.UUID(allow_none=True)
    accepted_at = ma.fields.AwareDateTime(allow_none=True)


class DifferenceOut(RecipientOut):
    """One person for whom it came otherwise than forecast."""

    result = ma.fields.String()


_CAMPAIGN, _RECIPIENT, _DIFFERENCE = CampaignOut(), RecipientOut(), DifferenceOut()


def dump_campaign(campaign: Campaign) -> dict[str, Any]:
    """Return a campaign without its figures, for lists."""
    return _CAMPAIGN.dump(campaign) | {"budget": in_currency(campaign.budget)}


def dump_stats(
    campaign: Campaign, stats: Stats, samples: Sequence[Mapping[str, Any]] = (), *, job_id: Any = None
) -> dict[str, Any]:
    """Return a campaign with its figures, and its forecast with what the first few would read."""
    forecast = {name: value for name, value in (campaign.rehearsal or {}).items() if name != "sample_ids"}
    shown = dump_campaign(campaign) | {
        "cost": in_currency(stats.cost),
        "counts": {"audience": stats.audience, **stats.states, "replies": stats.replies},
        "failures": stats.failures,
        "rehearsing": campaign.rehearse_since is not None and campaign.rehearsal is None,
        "rehearsal": {**forecast, "samples": list(samples)} if forecast else None,
    }
    return shown | ({"job_id": str(job_id)} if job_id else {})


def dump_recipient(row: Any) -> dict[str, Any]:
    """Return one recipient."""
    return _RECIPIENT.dump(row)


def dump_difference(row: Any) -> dict[str, Any]:
    """Return one recipient for whom it came otherwise."""
    return _DIFFERENCE.dump(row)


def in_currency(millionths: int | None) -> float | None:
    """Return an amount as people write it."""
    return None if millionths is None else round(millionths / MILLION, 6)


def in_millionths(body: dict[str, Any]) -> dict[str, Any]:
    """Return what came in with its budget as it is kept."""
    amount = body.get("budget")
    return {**body, "budget": round(amount * MILLION)} if amount is not None else body
