"""Channels as JSON. Credentials are in none of these: what is not named here is not shown."""

from datetime import timedelta
from typing import Any

import marshmallow as ma

from crm_tasks.messages.service.channels import Standing
from crm_tasks.providers import registry


class ChannelHoldOut(ma.Schema):
    """What stops a channel: who, why, until when."""

    id = ma.fields.UUID()
    reason = ma.fields.String()
    actor = ma.fields.String()
    created_at = ma.fields.AwareDateTime()
    expires_at = ma.fields.AwareDateTime(allow_none=True)


class BreakerOut(ma.Schema):
    """Whether its provider is left alone as it keeps failing; and the last 30 s, or what opened it."""

    state = ma.fields.String(metadata={"description": "closed, open or half_open"})
    since = ma.fields.AwareDateTime(allow_none=True)
    until = ma.fields.AwareDateTime(allow_none=True)
    failures = ma.fields.Integer()
    calls = ma.fields.Integer()


class AheadOut(ma.Schema):
    """In how many seconds who comes next would send, by priority; null if nobody knows."""

    soon = ma.fields.Float(data_key="3", allow_none=True, metadata={"description": "A reply"})
    usual = ma.fields.Float(data_key="5", allow_none=True, metadata={"description": "What has no hurry"})


class PaceOut(ma.Schema):
    """How fast it sends."""

    per_second = ma.fields.Float(allow_none=True, metadata={"description": "As it is set; null: nothing limits it"})
    factor = ma.fields.Float(
        allow_none=True, metadata={"description": "What part of it is left after its provider refused for speed"}
    )
    ahead = ma.fields.Nested(AheadOut)


class StateOut(ma.Schema):
    """What keeps a channel from sending now."""

    held = ma.fields.List(ma.fields.Nested(ChannelHoldOut))
    breaker = ma.fields.Nested(BreakerOut)
    pace = ma.fields.Nested(PaceOut)


class ChannelOut(ma.Schema):
    """A channel and how it stands."""

    id = ma.fields.UUID()
    kind = ma.fields.String()
    name = ma.fields.String()
    medium = ma.fields.String()
    display_phone_number = ma.fields.String(allow_none=True)
    phone_number_id = ma.fields.String(allow_none=True)
    waba_id = ma.fields.String(allow_none=True)
    base_url = ma.fields.String()
    settings = ma.fields.Dict()
    unknown_policy = ma.fields.String()
    created_at = ma.fields.AwareDateTime()
    state = ma.fields.Nested(StateOut)


_CHANNEL, _STATE = ChannelOut(exclude=("state", "medium")), StateOut()


def dump_standing(found: Standing) -> dict[str, Any]:
    """Return a channel and how it stands as JSON."""
    speed = found.pace
    state = {
        "held": found.held,
        "breaker": found.breaker,
        "pace": {
            "per_second": speed.per_second,
            "factor": speed.factor if speed.factor < 1 else None,
            "ahead": {"soon": _seconds(speed.ahead_soon), "usual": _seconds(speed.ahead_usual)},
        },
    }
    medium = registry.provider(found.channel.kind).medium
    return _CHANNEL.dump(found.channel) | {"medium": medium, "state": _STATE.dump(state)}


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
