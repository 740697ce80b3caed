"""Looking back: deliveries with their attempts, sending them again, and forgetting what is old."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed, now, transaction
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.enqueue import enqueue_many
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import id_floor
from crm_tasks.webhooks.models import EVERYTHING, Attempt, Delivery, DeliveryState, Endpoint, Event, EventType
from crm_tasks.webhooks.service import endpoints, publishing

log = get_logger(__name__)

BATCH = 5_000
REPLAYED_AT_ONCE = 500


def deliveries(
    session: Session,
    workspace_id: uuid.UUID,
    endpoint_id: uuid.UUID,
    *,
    state: DeliveryState | None = None,
    since: datetime | None = None,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[tuple[Delivery, str]]:
    """Return deliveries of an endpoint with the types of their events, the newest first.

    Raises:
        NotFound: no such endpoint here.
    """
    endpoints.get(session, workspace_id, endpoint_id)
    query = _with_type().where(Delivery.endpoint_id == endpoint_id, Delivery.workspace_id == workspace_id)
    if state is not None:
        query = query.where(Delivery.state == state)
    if since is not None:
        query = query.where(Delivery.created_at >= since)
    if before is not None:
        query = query.where(Delivery.id < before)
    return [(row[0], row[1]) for row in session.execute(query.order_by(Delivery.id.desc()).limit(limit))]


def delivery(session: Session, workspace_id: uuid.UUID, delivery_id: uuid.UUID) -> tuple[Delivery, str]:
    """Return a delivery of a workspace with the type of its event.

    Raises:
        NotFound: there is none of this id here.
    """
    query = _with_type().where(Delivery.id == delivery_id, Delivery.workspace_id == workspace_id)
    row = session.execute(query).first()
    if row is None:
        raise NotFound(f"There is no webhook delivery {delivery_id}.", code="delivery_not_found")
    return row[0], row[1]


def attempts(session: Session, delivery_id: uuid.UUID) -> list[Attempt]:
    """Return the requests of a delivery, the oldest first."""
    return list(session.scalars(sa.select(Attempt).where(Attempt.delivery_id == delivery_id).order_by(Attempt.id)))


def body(session: Session, event_id: uuid.UUID) -> bytes:
    """Return an event as it is sent."""
    return session.scalars(sa.select(Event.body).where(Event.id == event_id)).one()


def replay(session: Session, workspace_id: uuid.UUID, delivery_id: uuid.UUID, *, actor: str) -> tuple[Delivery, str]:
    """Send a delivery again, under the same `webhook-id`, also one that was delivered.

    Raises:
        NotFound: no such delivery here. Conflict: it is on its way, or its endpoint is disabled or removed.
    """
    found, type = delivery(session, workspace_id, delivery_id)
    endpoint = endpoints.get(session, workspace_id, found.endpoint_id, lock=True)
    endpoints.require_enabled(endpoint)
    session.refresh(found, with_for_update=True)
    if found.state is DeliveryState.PENDING:
        raise Conflict("This delivery is on its way already.", code="delivery_pending")
    _again(session, workspace_id, [found], actor)
    return found, type


def replay_missing(
    session: Session, workspace_id: uuid.UUID, endpoint_id: uuid.UUID, *, since: datetime, until: datetime, actor: str
) -> list[uuid.UUID]:
    """Send again up to 500 deliveries of an endpoint that were not delivered, and begin those that it never had.

    Counted are events since a moment, of the types that the endpoint wants now; given up before `until`, so that what
    fails again meanwhile does not come around for ever. Returns the deliveries; the caller commits and asks until
    none come.

    Raises:
        NotFound: no such endpoint here. Conflict: it is disabled.
    """
    endpoint = endpoints.require_enabled(endpoints.get(session, workspace_id, endpoint_id, lock=True))
    lost = sa.select(Delivery).where(
        Delivery.endpoint_id == endpoint_id,
        Delivery.created_at >= since,
        Delivery.state.in_((DeliveryState.FAILED, DeliveryState.CANCELLED)),
        Delivery.finished_at <= until,
    )
    found = session.scalars(lost.order_by(Delivery.id).limit(REPLAYED_AT_ONCE).with_for_update()).all()
    if found:
        _again(session, workspace_id, found, actor)
        return [each.id for each in found]
    never = session.scalars(_never_had(endpoint, since).order_by(Event.id).limit(REPLAYED_AT_ONCE)).all()
    return publishing.deliver(session, workspace_id, [(event_id, endpoint_id) for event_id in never]) if never else []


def replay_all(workspace_id: uuid.UUID, endpoint_id: uuid.UUID, *, since: datetime, actor: str) -> int:
    """Do `replay_missing` until none is left, a transaction a batch; returns how many deliveries that were."""
    with transaction() as session:
        until: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    total = 0
    while True:
        with transaction() as session:
            done = replay_missing(session, workspace_id, endpoint_id, since=since, until=until, actor=actor)
        if not done:
            return total
        total += len(done)


def forget(session: Session, before: datetime) -> int:
    """Delete up to 5,000 events of before a moment with their deliveries and attempts; returns how many events.

    What is still on its way stays.
    """
    on_its_way = sa.select(Delivery.id).where(Delivery.event_id == Event.id, Delivery.state == DeliveryState.PENDING)
    old = sa.select(Event.id).where(Event.id < id_floor(before), ~on_its_way.exists()).order_by(Event.id).limit(BATCH)
    return changed(session.execute(sa.delete(Event).where(Event.id.in_(old))))


def _with_type() -> sa.Select[Delivery, str]:
    return sa.select(Delivery, Event.type).join(Event, Event.id == Delivery.event_id)


def _never_had(endpoint: Endpoint, since: datetime) -> sa.Select[uuid.UUID]:
    had = sa.select(Delivery.id).where(Delivery.event_id == Event.id, Delivery.endpoint_id == endpoint.id)
    query = sa.select(Event.id).where(
        Event.workspace_id == endpoint.workspace_id,
        Event.created_at >= since,
        Event.type != EventType.WEBHOOK_TEST,
        ~had.exists(),
    )
    return query if EVERYTHING in endpoint.events else query.where(Event.type.in_(endpoint.events))


def _again(session: Session, workspace_id: uuid.UUID, found: Sequence[Delivery], actor: str) -> None:
    """Bring deliveries on their way again. A dead job is revived, so that it does not wait for a person any more."""
    dead = session.scalars(
        sa.select(Job.id).where(Job.id.in_([each.job_id for each in found]), Job.state == JobState.DEAD)
    ).all()
    for each in found:
        each.state, each.finished_at = DeliveryState.PENDING, None
    session.flush()
    for job_id in dead:
        repair.retry(session, job_id, actor=actor)
    fresh = [each for each in found if each.job_id not in dead]
    jobs = [publishing.job_of(workspace_id, each.id, each.endpoint_id) for each in fresh]
    for each, job_id in zip(fresh, enqueue_many(session, jobs), strict=True):
        each.job_id = job_id
    session.flush()
    log.info("webhook.replayed", deliveries=len(found), actor=actor)
