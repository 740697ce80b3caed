"""When a message may leave: within the provider's limits and the workspace's, all asked at once.

What the provider promises is its limit. From ten a second on the requests are counted as it counts them, by when they
have arrived; of a slower one a little less is used, as requests reach it at slightly other distances in time than those
at which they left.
"""

import math
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import db, pace
from crm_tasks.core.errors import Snooze
from crm_tasks.core.pace import Bucket, Members, Slot, Window, Wish
from crm_tasks.core.pace.buckets import DAY, Limit
from crm_tasks.core.queues import parse_rate
from crm_tasks.messages.models import Direction, Message
from crm_tasks.messages.service.conversations import closes_at
from crm_tasks.messages.service.gates import Finding
from crm_tasks.messages.service.look import Look
from crm_tasks.providers import loop
from crm_tasks.providers.provider import Provider
from crm_tasks.workspaces.models import Channel

# Of a slow limit: what is left is for the unevenness of the way there.
USED = 0.95
# From and up to how many a second arrivals are counted: no provider counts more (Meta's highest throughput), so of more
# a start may be late by so many seconds.
_COUNTED, _MOST_COUNTED, _LATE_UNCOUNTED = 10, 1_000, 2.0
# Where they are not, a start that is later by so many seconds, or by this part of the time between two, would be too
# near to the next ones.
LATE_EVENLY, _LATE_PART = 0.025, 0.02
# Where slots are so many seconds apart or more, how long a connection takes does not matter; and nobody keeps it until
# the next slot: who is too late for one would be for all, and never leave.
_FAR_APART = loop.KEEP_ALIVE / 3
# `sending` is marked at most so long ahead of the request, by a pump and by a job, which has to wait for the commits of
# others. (A kill in between leaves an unknown.)
MARK_AHEAD, MARK_AHEAD_JOB = 0.1, 0.2
# The code of a snooze for its slot.
PACE = "pace"


def channel_bucket(channel_id: uuid.UUID) -> str:
    """Return the name of a channel's bucket, by which a provider's refusal slows it down."""
    return f"channel:{channel_id}"


def people_bucket(portfolio: str) -> str:
    """Return the name of the set of people whom a portfolio has reached."""
    return f"portfolio:{portfolio}"


def portfolio_of(settings: Mapping[str, Any], waba_id: str | None, channel_id: uuid.UUID) -> str:
    """Return whose limit of people a channel shares: its portfolio's, else its account's, else its own."""
    return str(settings.get("portfolio_id") or waba_id or channel_id)


def breaker_key(channel_id: uuid.UUID) -> str:
    """Return the name of a channel's circuit breaker."""
    return f"channel:{channel_id}"


def per_second(provider: Provider, settings: Mapping[str, Any]) -> float | None:
    """Return how many messages a channel sends in a second: as it is set, else what its provider takes."""
    return settings.get("per_second", provider.per_second)


def limit_of_channel(channel_id: uuid.UUID, provider: Provider, settings: Mapping[str, Any]) -> Bucket | Window | None:
    """Return what limits how much a channel sends in a second; None if nothing does."""
    rate = per_second(provider, settings)
    return _limit(channel_bucket(channel_id), float(rate), provider) if rate else None


@dataclass(frozen=True, slots=True)
class Start:
    """A slot, and when it is by this process's monotonic clock."""

    slot: Slot
    due: float
    wish: Wish
    # By how much `due` may be behind the moment of which a window keeps account: so long it took to ask for it.
    asked_for: float = 0.0

    @property
    def left(self) -> float:
        """Seconds until then."""
        return max(0.0, self.due - time.monotonic())

    @property
    def late(self) -> float:
        """For how many seconds after its moment it may still be used."""
        kinds = (Bucket,) if self.slot.counted else (Bucket, Window)
        apart = _apart(limit for limit in self.wish.limits if isinstance(limit, kinds))
        most = pace.LATE.total_seconds() if self.slot.counted else _LATE_UNCOUNTED
        return min(most, max(LATE_EVENLY, _LATE_PART * apart)) if apart >= 1 / _MOST_COUNTED else most

    @property
    def far_apart(self) -> bool:
        """Whether starts are so rare that it does not matter how long a connection takes."""
        return _apart(self.wish.limits) >= _FAR_APART

    def in_time(self) -> bool:
        """Whether it may still be used now."""
        return time.monotonic() - (self.due - self.asked_for) <= self.late

    def another(self) -> "Start | None":
        """Lose this slot, and take another; None if none is within a second."""
        pace.give_back(self.slot)
        (other,) = _starts([self.wish])
        return other if other.slot.reserved else None


def reserve(seen: Look, *, priority: int) -> Start:
    """Reserve one start for a message in everything that limits it."""
    return reserve_many([(seen, priority)])[0]


def reserve_many(wanted: Sequence[tuple[Look, int]]) -> list[Start]:
    """Reserve one start for each of these messages, with its priority, in everything that limits it."""
    return _starts([_wish(seen, priority) for seen, priority in wanted])


def _wish(seen: Look, priority: int) -> Wish:
    limits = limits_of(seen)
    members = any(isinstance(limit, Members) for limit in limits)
    return Wish(limits, priority, str(seen.row.contact_id) if members else None)


def soon(seen: Look, most: int) -> int:
    """Return how many starts like this one's fit, of so many at most, in the time that a mark may be ahead.

    Whoever asks for more puts others behind what is never taken: who finds no slot is told to come behind all before.
    """
    apart = _apart(limits_of(seen))
    return max(1, min(most, math.ceil(MARK_AHEAD / apart))) if apart else most


def _apart(limits: Iterable[Limit]) -> float:
    """Return the seconds between two starts of the slowest limit that spaces them; 0 if none does."""
    spaced = (each for each in limits if isinstance(each, Window) or (isinstance(each, Bucket) and each.burst <= 2))
    return max((1 / limit.rate for limit in spaced), default=0.0)


def _starts(wishes: Sequence[Wish]) -> list[Start]:
    asked = time.monotonic()
    slots, moment = pace.reserve_many(wishes), time.monotonic()
    return [
        Start(slot, moment + slot.wait.total_seconds(), wish, moment - asked if slot.counted else 0.0)
        for slot, wish in zip(slots, wishes, strict=True)
    ]


def waiting(seen: Look, slot: Slot) -> Snooze:
    """Return until when a message has to stay away, and by which limit; its job remembers it, not the message."""
    limit = next((limit for limit in limits_of(seen) if limit.name == slot.gate), None)
    if isinstance(limit, Members):
        allowed = f"{limit.limit} different people in 24 hours"
    else:
        allowed = f"{limit.rate:.3g} a second" if limit else "the limits of this channel"
    return Snooze(slot.wait, f"{slot.gate or 'all limits together'}, {allowed}", code=PACE)


def limits_of(seen: Look) -> list[Limit]:
    """Return everything that limits how soon a message may leave."""
    row, provider, settings = seen.row, seen.provider, seen.channel.settings
    found: list[Limit] = []
    if own := limit_of_channel(row.channel_id, provider, settings):
        found.append(own)
    if provider.pair is not None and row.contact_id is not None:
        every, burst = provider.pair
        # One less at once than the provider takes: the first and the last of a burst travel differently long.
        found.append(Bucket(f"pair:{row.channel_id}:{row.contact_id}", 1 / every, burst=burst - 1, share=0))
    if policy := seen.policy("rate"):
        count, period = parse_rate(policy[0]["rate"]) or (1, timedelta(seconds=1))
        found.append(_limit(f"workspace:{row.workspace_id}", count / period.total_seconds(), provider))
    if (people := settings.get("unique_per_day")) and row.contact_id is not None and _opens_a_window(seen):
        portfolio = portfolio_of(settings, seen.channel.waba_id, row.channel_id)
        found.append(Members(people_bucket(portfolio), int(people), lambda: _reached(portfolio)))
    return found


def wait_for_breaker(seen: Look, wait: timedelta) -> Finding:
    """Return why a channel whose provider keeps failing is left alone for a while."""
    return Finding("breaker", "the provider keeps failing", "half of 10 calls in 30 s", "system", seen.now + wait)


def _limit(name: str, per_second: float, provider: Provider) -> Bucket | Window:
    """Return the limit of a rate. From 20 a second on a tenth of it is kept for who does not wait.

    Arrivals are counted of who is asked on the loop: what a thread sends may leave long after it was in time.
    """
    if provider.send_async is not None and _COUNTED <= per_second <= _MOST_COUNTED:
        count = int(per_second)
        return Window(name, count, count / per_second, share=0.1 if count >= 20 else 0.0)
    if per_second < 20:
        return Bucket(name, per_second * USED)
    # Two lanes, each of a whole number of starts a second: only then do both together never make one more.
    return Bucket(name, per_second // 10 * 10 * USED, burst=2)


def _opens_a_window(seen: Look) -> bool:
    """Whether the person would be counted: reached outside of a customer service window (Meta, "Messaging limits")."""
    until = closes_at(seen.row.last_inbound_at)
    return until is None or until <= seen.now


def reached(session: Session, channel: Channel, people: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return whom of these people a channel's portfolio has reached in the last 24 hours."""
    query = _whom(portfolio_of(channel.settings, channel.waba_id, channel.id))
    found = session.execute(query.where(Message.contact_id.in_(people)))
    return {contact_id for contact_id, _ in found if contact_id is not None}


def count_reached(session: Session, channel: Channel) -> int:
    """Return how many people a channel's portfolio has reached in the last 24 hours."""
    query = _whom(portfolio_of(channel.settings, channel.waba_id, channel.id)).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(query)) or 0


def _reached(portfolio: str) -> Iterable[tuple[str, datetime]]:
    # Beside the pool: the caller has a connection of it already, as all the others who wait may have.
    with db.aside() as session:
        return [(str(contact_id), at) for contact_id, at in session.execute(_whom(portfolio))]


def _whom(portfolio: str) -> sa.Select[uuid.UUID | None, datetime]:
    """Return the query for whom a portfolio's channels may have reached outside a window in the last 24 hours, and when
    they last did: rather too many.
    """
    of_portfolio = sa.func.coalesce(
        Channel.settings["portfolio_id"].astext, Channel.waba_id, sa.cast(Channel.id, sa.Text)
    )
    when = sa.func.coalesce(Message.accepted_at, Message.created_at)
    return (
        sa.select(Message.contact_id, sa.func.max(when))
        .where(
            Message.channel_id.in_(sa.select(Channel.id).where(of_portfolio == portfolio)),
            Message.direction == Direction.OUT,
            Message.type == "template",
            Message.contact_id.is_not(None),
            Message.state.not_in(("queued", "planned", "suppressed", "cancelled")),
            when > db.now() - DAY,
        )
        .group_by(Message.contact_id)
    )
