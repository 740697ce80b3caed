"""What happened is told here, in the transaction in which it happens; what nobody wants costs one look.

The look is remembered for the rest of the transaction, however much happens in it.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import Invalid, did_you_mean
from crm_tasks.core.jobs.enqueue import NewJob, enqueue_many
from crm_tasks.core.text import storable
from crm_tasks.core.types import new_id
from crm_tasks.webhooks.models import EVERYTHING, Delivery, Endpoint, EndpointState, Event, EventType

_REMEMBERED = "webhook_wishes"


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened: ids, states, short texts and moments. `at` is when, by default now."""

    type: EventType | str
    data: Mapping[str, Any]
    at: datetime | None = None


def publish(
    session: Session,
    workspace_id: uuid.UUID,
    type: EventType | str,
    data: Mapping[str, Any],
    *,
    at: datetime | None = None,
) -> uuid.UUID | None:
    """Tell the endpoints of a workspace that want it; returns the event's id, None if nobody wants it.

    Raises:
        Invalid: there is no such type.
    """
    return publish_many(session, workspace_id, [News(type, data, at)])[0]


def publish_many(session: Session, workspace_id: uuid.UUID, news: Sequence[News]) -> list[uuid.UUID | None]:
    """Tell of several things with as many statements as of one; returns the events' ids, in order.

    Raises:
        Invalid: there is no such type.
    """
    types = [event_type(each.type) for each in news]
    wishes = _wishes(session, workspace_id)
    takers = [[endpoint_id for endpoint_id, wanted in wishes if wants(wanted, type)] for type in types]
    wanted_news = [(each, type, to) for each, type, to in zip(news, types, takers, strict=True) if to]
    if not wanted_news:
        return [None] * len(news)
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    events = [_event(workspace_id, each, type, moment) for each, type, _ in wanted_news]
    session.execute(insert(Event), events)
    to_each = [
        (event["id"], endpoint_id) for event, (_, _, to) in zip(events, wanted_news, strict=True) for endpoint_id in to
    ]
    deliver(session, workspace_id, to_each)
    ids = iter(event["id"] for event in events)
    return [next(ids) if to else None for to in takers]


def deliver(
    session: Session, workspace_id: uuid.UUID, to_each: Sequence[tuple[uuid.UUID, uuid.UUID]]
) -> list[uuid.UUID]:
    """Begin deliveries of stored events (event, endpoint): a row and a job each; returns their ids."""
    rows = [
        {"id": new_id(), "workspace_id": workspace_id, "event_id": event_id, "endpoint_id": endpoint_id}
        for event_id, endpoint_id in to_each
    ]
    job_ids = enqueue_many(session, [job_of(workspace_id, row["id"], row["endpoint_id"]) for row in rows])
    session.execute(insert(Delivery), [{**row, "job_id": job_id} for row, job_id in zip(rows, job_ids, strict=True)])
    return [row["id"] for row in rows]


def job_of(workspace_id: uuid.UUID, delivery_id: uuid.UUID, endpoint_id: uuid.UUID) -> NewJob:
    """Return the job that brings a delivery to its endpoint."""
    return NewJob(
        task="webhooks.deliver",
        args={"delivery_id": delivery_id},
        workspace_id=workspace_id,
        scopes=[f"endpoint:{endpoint_id}"],
    )


def publish_to(session: Session, endpoint: Endpoint, type: EventType, data: Mapping[str, Any]) -> uuid.UUID:
    """Tell one endpoint something, whatever it wants, and return the delivery."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    event = _event(endpoint.workspace_id, News(type, data), type, moment)
    session.execute(insert(Event), [event])
    return deliver(session, endpoint.workspace_id, [(event["id"], endpoint.id)])[0]


def event_type(name: str) -> EventType:
    """Return the type of this name.

    Raises:
        Invalid: there is none; says which there are.
    """
    try:
        return EventType(name)
    except ValueError:
        hint = f"Types: {', '.join(EventType)}."
        raise Invalid(
            f"There is no event type {name!r}.{did_you_mean(name, EventType)}", code="bad_event_type", hint=hint
        ) from None


def wants(wanted: Sequence[str], type: EventType) -> bool:
    """Say whether a filter lets a type through."""
    return type in wanted or EVERYTHING in wanted


def anyone_wants(session: Session, workspace_id: uuid.UUID, type: EventType) -> bool:
    """Say whether any endpoint of a workspace is to be told of things of this type."""
    return any(wants(wanted, type) for _, wanted in _wishes(session, workspace_id))


def forget_wishes(session: Session) -> None:
    """Look again: an endpoint was changed in this transaction."""
    session.info.pop(_REMEMBERED, None)


def _wishes(session: Session, workspace_id: uuid.UUID) -> list[tuple[uuid.UUID, list[str]]]:
    remembered = session.info.setdefault(_REMEMBERED, {})
    if workspace_id not in remembered:
        query = (
            sa.select(Endpoint.id, Endpoint.events)
            .where(Endpoint.workspace_id == workspace_id, Endpoint.state == EndpointState.ENABLED)
            .order_by(Endpoint.id)
        )
        # What the caller has changed and not yet written has nothing to do with this look.
        with session.no_autoflush:
            remembered[workspace_id] = [(row.id, row.events) for row in session.execute(query)]
    return remembered[workspace_id]


def _event(workspace_id: uuid.UUID, news: News, type: EventType, moment: datetime) -> dict[str, Any]:
    at = (news.at or moment).astimezone(UTC)
    content = {"type": type, "timestamp": at, "data": storable(dict(news.data))}
    body = orjson.dumps(content, default=str, option=orjson.OPT_UTC_Z)
    return {"id": new_id(), "workspace_id": workspace_id, "type": type, "body": body}
