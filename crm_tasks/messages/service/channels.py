"""Channels as those who send see them: added with what belongs to them, and how they stand now."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import breaker, holds, pace
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Conflict, Forbidden
from crm_tasks.core.jobs.model import Hold
from crm_tasks.core.pace import learned
from crm_tasks.messages.service import pacing
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Checked
from crm_tasks.templates import service as templates
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

# Of a reply, and of what has no hurry.
SOON, USUAL = 3, 5
# What says with which hosts, and by which files, this system speaks.
PLACES = ("host", "cafile")


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


def add(session: Session, workspace_id: uuid.UUID, new: workspaces.NewChannel, *, operator: bool = True) -> Channel:
    """Add a channel and have its templates fetched.

    Args:
        operator: may say where it is reached: any host, also private ones.

    Raises:
        NotFound: no such workspace. Invalid: something is missing. Conflict: the number belongs to a channel already.
        Forbidden: names a host without being an operator.
    """
    if not operator:
        _refuse_places(new)
    channel = workspaces.add_channel(session, workspace_id, new)
    templates.ask_sync(session, channel)
    return channel


def check(workspace_id: uuid.UUID, channel_id: uuid.UUID) -> Checked:
    """Ask a channel's provider whether it knows it, with no transaction open; nothing is sent to anybody.

    Raises:
        NotFound: no such channel. Conflict: providers of its kind cannot be asked.
    """
    with transaction() as session:
        found = workspaces.channel(session, workspace_id, channel_id)
        kind, sender = registry.provider(found.kind), workspaces.sender(found)
    if kind.check is None:
        raise Conflict(
            f"What is behind a channel of kind {kind.kind} cannot be asked.",
            code="no_check",
            hint="Send a message to an address of your own instead.",
        )
    return kind.check(sender)


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


def _refuse_places(new: workspaces.NewChannel) -> None:
    """Let a workspace name no hosts where webhooks may not go to private ones either."""
    named = ["base_url"] * bool(new.base_url) + [name for name in PLACES if new.values.get(name)]
    if named and not settings().webhook_allow_private:
        raise Forbidden(
            f"{' and '.join(named)} would have this system speak to any host.",
            code="operator_only",
            hint="Leave it out, or use an operator's key.",
        )


def _pace(channel: Channel, factor: float) -> Pace:
    provider = registry.provider(channel.kind)
    rate = pacing.per_second(provider, channel.settings)
    limit = pacing.limit_of_channel(channel.id, provider, channel.settings)
    if limit is None:
        return Pace(None, factor, timedelta(0), timedelta(0))
    return Pace(rate, factor, pace.ahead(limit, SOON), pace.ahead(limit, USUAL))
