"""Raw webhook events: stored before they are acknowledged, listed when they were put aside, replayed on demand."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import EventState, InboundEvent
from crm_tasks.messages.service import ingest

log = get_logger(__name__)


def listed(
    session: Session,
    *,
    state: EventState | None = EventState.QUARANTINED,
    workspace_id: uuid.UUID | None = None,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[InboundEvent]:
    """Return events, the newest first; by default those that could not be understood."""
    query = sa.select(InboundEvent).order_by(InboundEvent.id.desc()).limit(limit)
    if state is not None:
        query = query.where(InboundEvent.state == state)
    if workspace_id is not None:
        query = query.where(InboundEvent.workspace_id == workspace_id)
    if before is not None:
        query = query.where(InboundEvent.id < before)
    return list(session.scalars(query))


def get(session: Session, event_id: uuid.UUID) -> InboundEvent:
    """Return one event.

    Raises:
        NotFound: there is none of this id, or its day was dropped.
    """
    event = session.get(InboundEvent, event_id)
    if event is None:
        raise NotFound(f"There is no event {event_id}; events are kept for RAW_EVENT_DAYS.")
    return event


def replay(session: Session, event_id: uuid.UUID, *, actor: str) -> uuid.UUID:
    """Have an event that was put aside applied again, and return the job. What it did already, it does not do twice.

    Raises:
        NotFound: no such event. Conflict: it was not put aside.
    """
    event = get(session, event_id)
    if event.state is not EventState.QUARANTINED:
        raise Conflict(f"This event is {event.state}; only a quarantined one can be replayed.", code="not_quarantined")
    event.state, event.problem = EventState.RECEIVED, None
    session.flush()
    log.info("event.replayed", event_id=str(event_id), actor=actor)
    task = ingest.task_of(event.provider)
    return enqueue(session, task, args={"event_ids": [event_id]}, unique_key=f"replay:{event_id}")


def replay_all(session: Session, *, actor: str, after: uuid.UUID | None = None, limit: int = 500) -> list[uuid.UUID]:
    """Replay quarantined events, the oldest first, and return them; `after` goes on behind the last of a batch.

    Whoever wants all goes on until none come. Without `after`, what a quick worker puts aside again would come again.
    """
    query = sa.select(InboundEvent.id).where(InboundEvent.state == EventState.QUARANTINED).order_by(InboundEvent.id)
    if after is not None:
        query = query.where(InboundEvent.id > after)
    ids = list(session.scalars(query.limit(limit)))
    for event_id in ids:
        replay(session, event_id, actor=actor)
    return ids
