"""Channels as those who send see them: added with what belongs to them, and how they stand now."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from crm_tasks.core import breaker, holds, pace
from crm_tasks.core.jobs.model import Hold
from crm_tasks.core.pace import learned
from crm_tasks.messages.service import pacing
from crm_tasks.providers import registry
from crm_tasks.templates import service as templates
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

# Of a reply, and of what has no hurry.
SOON, USUAL = 3, 5


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a channel sends: as it is set, what part of that its provider has left it, and the way to the tail."""

    per_second: float | None
    factor: float
    ahead_soon: timedelta | None
    ahead_usual: timedelta | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A channel, and what keeps it from sending now."""

    channel: Channel
    held: Sequence[Hold]
    breaker: breaker.State
    pace: Pace


def add(session: Session, workspace_id: uuid.UUID, new: workspaces.NewChannel) -> Channel:
    """Add a channel and have its templates fetched.

    Raises:
        NotFound: no such workspace. Invalid: something is missing. Conflict: the number belongs to a channel already.
    """
    channel = workspaces.add_channel(session, workspace_id, new)
    templates.ask_sync(session, channel)
    return channel


def standing(session: Session, channels: Sequence[Channel]) -> list[Standing]:
    """Return how these channels stand: what holds them, their breakers and their pace."""
    factors = learned.factors(session, [pacing.channel_bucket(channel.id) for channel in channels])
    held = holds.in_force(session, [f"channel:{channel.id}" for channel in channels])
    return [
        Standing(
            channel,
            [hold for hold in held if hold.scope == f"channel:{channel.id}"],
            breaker.state(pacing.breaker_key(channel.id)),
            _pace(channel, factors.get(pacing.channel_bucket(channel.id), 1.0)),
        )
        for channel in channels
    ]


def recount(channel: Channel) -> None:
    """Have its portfolio's people counted again, once a change of its limits is committed."""
    portfolio = pacing.portfolio_of(channel.settings, channel.waba_id, channel.id)
    pace.forget_members(pacing.people_bucket(portfolio))


def _pace(channel: Channel, factor: float) -> Pace:
    rate = pacing.per_second(registry.provider(channel.kind), channel.settings)
    limit = pacing.limit_of_channel(channel.id, rate)
    if limit is None:
        return Pace(None, factor, timedelta(0), timedelta(0))
    return Pace(rate, factor, pace.ahead(limit, SOON), pace.ahead(limit, USUAL))
