"""When an endpoint may be called: at its rate, so many at once, and rarely while it does nothing but fail.

An endpoint that is dead costs a worker one request now and then, and nobody else a delay. It rests after failures in a
row and not, as behind `core.breaker`, after ten within 30 seconds: one that runs into the timeout each time would never
have so many.
"""

import random
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import pace
from crm_tasks.core.errors import Snooze
from crm_tasks.webhooks.models import Delivery, Endpoint

# So many failures in a row let an endpoint rest, twice as long each time; then one request tries whether it is back.
DEAD_AFTER = 5
_FIRST_REST, LONGEST_REST = timedelta(seconds=10), timedelta(minutes=5)
_BUSY = timedelta(seconds=1)
# A worker that is killed frees its place by the clock: this much after the longest request.
_MARGIN = timedelta(seconds=5)


def enter(session: Session, endpoint: Endpoint, delivery: Delivery, at: datetime) -> timedelta:
    """Take a place for one request and return how long to wait for its turn, at most a second. Both rows are locked.

    Raises:
        Snooze: not now.
    """
    if endpoint.rests_until is not None and endpoint.rests_until > at:
        # Spread, as everything that waits for it would come back at one moment.
        raise Snooze(_spread(endpoint.rests_until - at), "the endpoint rests after failures", code="webhook_rest")
    slot = pace.reserve([pace.Bucket(f"webhook:{endpoint.id}", endpoint.rate)])
    if not slot.reserved:
        raise Snooze(slot.wait, "the endpoint's rate", code="webhook_rate")
    room = 1 if endpoint.failures >= DEAD_AFTER else endpoint.concurrency
    if _under_way(session, endpoint, delivery, at) >= room:
        pace.give_back(slot)
        raise Snooze(_spread(_BUSY), "the endpoint has enough at once", code="webhook_busy")
    delivery.under_way_until = at + timedelta(seconds=settings().webhook_timeout) + _MARGIN
    return slot.wait


def leave(endpoint: Endpoint, delivery: Delivery, at: datetime, *, ok: bool, asked: timedelta | None = None) -> None:
    """Give the place back and remember how the endpoint fares; `asked` is how long it asked to be left alone."""
    delivery.under_way_until = None
    if ok:
        if endpoint.failures or endpoint.rests_until:
            endpoint.failures, endpoint.failing_since, endpoint.rests_until = 0, None, None
        return
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or at
    rest = min(asked or timedelta(0), LONGEST_REST)
    if endpoint.failures >= DEAD_AFTER:
        doublings = min(endpoint.failures - DEAD_AFTER, 10)
        rest = max(rest, min(_FIRST_REST * 2**doublings, LONGEST_REST))
    if rest:
        endpoint.rests_until = max(endpoint.rests_until or at, at + rest)


def _under_way(session: Session, endpoint: Endpoint, delivery: Delivery, at: datetime) -> int:
    others = sa.select(sa.func.count()).where(
        Delivery.endpoint_id == endpoint.id, Delivery.under_way_until > at, Delivery.id != delivery.id
    )
    return session.scalar(others) or 0


def _spread(wait: timedelta) -> timedelta:
    return wait * random.uniform(1.0, 2.0)
