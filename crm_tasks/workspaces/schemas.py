"""What can be changed of a channel, as JSON."""

from typing import Any

import marshmallow as ma

from crm_tasks.workspaces.models import UnknownPolicy

MOST_PER_SECOND, MOST_PEOPLE, MOST_NAME = 1000, 10_000_000, 200
_RATE = ma.validate.Range(0, MOST_PER_SECOND, min_inclusive=False, error=f"Use more than 0, at most {MOST_PER_SECOND}.")


def name_field(**options: Any) -> ma.fields.String:
    """Return the field of a channel's name."""
    error = f"Write a name of 1 to {MOST_NAME} characters."
    return ma.fields.String(
        validate=[ma.validate.Length(1, MOST_NAME, error=error), ma.validate.Regexp(r"(?s).*\S", error=error)],
        **options,
    )


def policy_field(**options: Any) -> ma.fields.String:
    """Return the field of what happens to a send whose outcome nobody knows."""
    choice = ma.validate.OneOf(list(map(str, UnknownPolicy)), error="Use hold or resend.")
    return ma.fields.String(validate=choice, **options)


class LimitsIn(ma.Schema):
    """Limits of a channel. What is left out stays; null is what its provider usually takes, or no limit."""

    error_messages: dict[str, str] = {  # noqa: RUF012  as marshmallow has it
        "unknown": "No such setting can be changed: use per_second, unique_per_day or portfolio_id."
    }

    per_second = ma.fields.Float(
        allow_none=True, validate=_RATE, metadata={"description": "Messages in a second; null: what its provider takes"}
    )
    unique_per_day = ma.fields.Integer(
        strict=True,
        allow_none=True,
        validate=ma.validate.Range(1, MOST_PEOPLE, error=f"Use 1 to {MOST_PEOPLE:,}, or null for no limit."),
        metadata={"description": "Different people reached outside their service window in 24 hours; null: no limit"},
    )
    portfolio_id = ma.fields.String(
        allow_none=True,
        validate=ma.validate.Regexp(
            r"\S{1,200}\Z", error="Write an id of 1 to 200 characters without spaces, or null."
        ),
        metadata={"description": "Channels of one portfolio share unique_per_day; null: those of its account do"},
    )


class ChannelChange(ma.Schema):
    """What to change of a channel; what is left out stays."""

    name = name_field()
    unknown_policy = policy_field()
    settings = ma.fields.Nested(LimitsIn)
