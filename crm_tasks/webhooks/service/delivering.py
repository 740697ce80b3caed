"""One delivery: a request, and what its answer means.

It is delivered at least once: what was under way when a worker died is sent again, under the same `webhook-id`. The
endpoint's row is locked before the delivery's, here and in `endpoints`.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.db import now
from crm_tasks.core.errors import Outcome, Transient
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.queues import Queue
from crm_tasks.providers.outbound import Reply
from crm_tasks.webhooks.models import Attempt, Delivery, DeliveryState, Endpoint, EndpointState, Event
from crm_tasks.webhooks.service import endpoints, gate, signing

log = get_logger(__name__)

# An endpoint that has done nothing but fail for so long is disabled.
GIVE_UP_AFTER = timedelta(days=5)
MOST_WAIT = timedelta(hours=24)
GONE = 410
_TELLS_WHEN = (429, 502, 503, 504)
# Source: Svix, "Receiving webhooks": an answer with this header is not sent to again.
_ABORT = ("webhook-delivery", "abort-message")


@dataclass(frozen=True, slots=True)
class Order:
    """Everything needed for one request, without a transaction open. `wait` is in seconds."""

    url: str
    body: bytes
    headers: dict[str, str]
    wait: float


def begin(session: Session, delivery_id: uuid.UUID) -> Order | None:
    """Take a place at the endpoint for one request; None if there is nothing to deliver.

    Raises:
        Snooze: the endpoint has enough at the moment, or rests.
    """
    endpoint, delivery = _locked(session, delivery_id)
    if delivery is None or delivery.state is not DeliveryState.PENDING:
        return None
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    if endpoint is None or endpoint.state is EndpointState.DISABLED:
        delivery.state, delivery.finished_at = DeliveryState.CANCELLED, moment
        return None
    wait = gate.enter(session, endpoint, delivery, moment)
    body = session.scalars(sa.select(Event.body).where(Event.id == delivery.event_id)).one()
    headers = signing.headers(endpoint, delivery.event_id, body, moment)
    return Order(endpoint.url, body, headers, wait.total_seconds())


def delivered(session: Session, delivery_id: uuid.UUID, reply: Reply) -> None:
    """Keep that the endpoint took it, even if it was cancelled meanwhile: it is a fact."""
    endpoint, delivery = _locked(session, delivery_id)
    if delivery is None:
        return
    moment = _attempted(session, endpoint, delivery, reply)
    delivery.state, delivery.finished_at = DeliveryState.DELIVERED, moment
    metrics.count("deliveries_done")


def failed(session: Session, delivery_id: uuid.UUID, reply: Reply, claim: Claim) -> Outcome | None:
    """Keep a failure and return how the job ends after it; None if there is to be no further try."""
    endpoint, delivery = _locked(session, delivery_id)
    if delivery is None:
        return None
    moment = _attempted(session, endpoint, delivery, reply)
    metrics.count("deliveries_failed")
    if delivery.state is not DeliveryState.PENDING:
        return None
    if endpoint is None or reply.status == GONE or reply.headers.get(_ABORT[0], "").strip().lower() == _ABORT[1]:
        delivery.state, delivery.finished_at = DeliveryState.FAILED, moment
    if endpoint is not None:
        _judge(session, endpoint, reply, moment)
    session.flush()
    session.refresh(delivery)
    if delivery.state is not DeliveryState.PENDING:
        return None
    asked, planned = _retry_after(reply, moment), settings().queues[Queue.WEBHOOKS].delay(claim.attempt + 1)
    later = asked if asked and asked > timedelta(seconds=planned) else None
    return Transient(_said(reply), code=f"webhook_{reply.status or 'no_answer'}", retry_after=later)


def follow(session: Session, state: JobState, error: BaseException | None, delivery_id: str) -> None:
    """Keep a delivery in step with its job when that leaves without success."""
    delivery = session.get(Delivery, uuid.UUID(delivery_id), with_for_update=True, populate_existing=True)
    if delivery is None:
        return
    if state is JobState.QUEUED and delivery.state is DeliveryState.FAILED:
        delivery.state, delivery.finished_at = DeliveryState.PENDING, None
    elif state is JobState.DEAD and delivery.state is DeliveryState.PENDING:
        _end(session, delivery, DeliveryState.FAILED)
        delivery.last_error = delivery.last_error or type(error).__name__
    elif state is JobState.CANCELLED and delivery.state in (DeliveryState.PENDING, DeliveryState.FAILED):
        _end(session, delivery, DeliveryState.CANCELLED)


def _end(session: Session, delivery: Delivery, state: DeliveryState) -> None:
    delivery.state, delivery.finished_at = state, session.scalar(sa.select(now()))


def _locked(session: Session, delivery_id: uuid.UUID) -> tuple[Endpoint | None, Delivery | None]:
    endpoint_id = session.scalar(sa.select(Delivery.endpoint_id).where(Delivery.id == delivery_id))
    if endpoint_id is None:
        return None, None
    endpoint = session.get(Endpoint, endpoint_id, with_for_update=True, populate_existing=True)
    return endpoint, session.get(Delivery, delivery_id, with_for_update=True, populate_existing=True)


def _attempted(session: Session, endpoint: Endpoint | None, delivery: Delivery, reply: Reply) -> datetime:
    """Write down one attempt, and how the endpoint fares; returns the moment."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    error = None if reply.ok else _said(reply)
    session.add(
        Attempt(
            delivery_id=delivery.id,
            at=moment,
            status=reply.status,
            latency_ms=reply.latency_ms,
            excerpt=reply.excerpt,
            error=error,
        )
    )
    delivery.attempts += 1
    delivery.last_status, delivery.last_error = reply.status, error
    if endpoint is None:
        delivery.under_way_until = None
    else:
        gate.leave(endpoint, delivery, moment, ok=reply.ok, asked=_retry_after(reply, moment))
    return moment


def _judge(session: Session, endpoint: Endpoint, reply: Reply, moment: datetime) -> None:
    """Disable an endpoint that says it is gone, or that has done nothing but fail for days."""
    if endpoint.state is EndpointState.DISABLED:
        return
    if reply.status == GONE:
        endpoints.disable(session, endpoint, "it answered 410 Gone", actor=endpoints.SYSTEM)
    elif endpoint.failing_since is not None and moment - endpoint.failing_since >= GIVE_UP_AFTER:
        endpoints.disable(
            session, endpoint, f"nothing but failures for {GIVE_UP_AFTER.days} days", actor=endpoints.SYSTEM
        )


def _said(reply: Reply) -> str:
    if reply.status is None:
        return reply.error or "no answer"
    if 300 <= reply.status < 400:
        return f"HTTP {reply.status}: redirects are not followed"
    return f"HTTP {reply.status}"


def _retry_after(reply: Reply, moment: datetime) -> timedelta | None:
    """Return how long the other side asked us to stay away, in seconds or as a date (RFC 9110), a day at most."""
    given = reply.headers.get("Retry-After", "").strip()
    if reply.status not in _TELLS_WHEN or not given:
        return None
    if given.isascii() and given.isdecimal():
        return timedelta(seconds=min(int(given[:9]), MOST_WAIT.total_seconds()))
    try:
        until = parsedate_to_datetime(given)
    except (ValueError, TypeError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(until - moment, timedelta(0)), MOST_WAIT)
