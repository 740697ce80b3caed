"""Segments: conditions under a name. Who is in one is asked anew each time; how many, at most every five minutes."""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import attributes, conditions
from crm_tasks.contacts.models import Contact, Segment
from crm_tasks.contacts.predicates import predicate
from crm_tasks.core import cache
from crm_tasks.core.db import dumps, now
from crm_tasks.core.errors import Conflict, NotFound


def compile(
    session: Session, workspace_id: uuid.UUID, wanted: Mapping[str, Any], *, at: str = "conditions"
) -> sa.ColumnElement[bool]:
    """Return conditions as SQL over `Contact`, without the workspace: `audience.select` adds that.

    Raises:
        Invalid: each thing that is wrong with the conditions, by its place.
    """
    return predicate(conditions.read(wanted, attributes.types(session, workspace_id), at=at))


def create(session: Session, workspace_id: uuid.UUID, *, name: str, conditions: Mapping[str, Any]) -> Segment:
    """Keep conditions under a name.

    Raises:
        Invalid: not conditions. Conflict: the name is taken.
    """
    compile(session, workspace_id, conditions)
    _require_free(session, workspace_id, name)
    segment = Segment(workspace_id=workspace_id, name=name, conditions=dict(conditions))
    session.add(segment)
    session.flush()
    session.refresh(segment)
    return segment


def get(session: Session, workspace_id: uuid.UUID, segment_id: uuid.UUID) -> Segment:
    """Return a segment.

    Raises:
        NotFound: there is none of this id here.
    """
    segment = session.get(Segment, segment_id)
    if segment is None or segment.workspace_id != workspace_id:
        raise NotFound(f"There is no segment {segment_id}.", code="segment_not_found")
    return segment


def listed(
    session: Session, workspace_id: uuid.UUID, *, before: uuid.UUID | None = None, limit: int = 50
) -> list[Segment]:
    """Return segments, the newest first."""
    query = sa.select(Segment).where(Segment.workspace_id == workspace_id)
    if before is not None:
        query = query.where(Segment.id < before)
    return list(session.scalars(query.order_by(Segment.id.desc()).limit(limit)))


def change(session: Session, workspace_id: uuid.UUID, segment_id: uuid.UUID, **values: Any) -> Segment:
    """Give a segment another name or other conditions.

    Raises:
        NotFound: no such segment. Invalid: not conditions. Conflict: the name is taken.
    """
    segment = get(session, workspace_id, segment_id)
    if "conditions" in values:
        compile(session, workspace_id, values["conditions"])
        segment.conditions = dict(values["conditions"])
    if "name" in values and values["name"] != segment.name:
        _require_free(session, workspace_id, values["name"])
        segment.name = values["name"]
    segment.changed_at = now()
    session.flush()
    session.refresh(segment)
    return segment


def delete(session: Session, workspace_id: uuid.UUID, segment_id: uuid.UUID) -> None:
    """Forget a segment; its contacts stay.

    Raises:
        NotFound: no such segment.
    """
    session.delete(get(session, workspace_id, segment_id))


def count(session: Session, workspace_id: uuid.UUID, wanted: Mapping[str, Any]) -> int:
    """Return how many contacts conditions are true of, as it was at some time in the last five minutes.

    Raises:
        Invalid: not conditions.
    """
    condition = compile(session, workspace_id, wanted)
    query = sa.select(sa.func.count()).select_from(Contact).where(present(workspace_id), condition)
    # By what is asked, not by the segment: changed conditions have another count at once.
    asked = hashlib.sha256(dumps(wanted).encode()).hexdigest()[:32]
    key = f"segment:{workspace_id}:{asked}"
    return cache.get_or_load(key, lambda: session.scalar(query) or 0, cache.TTL.SEGMENT_COUNTS)


def present(workspace_id: uuid.UUID) -> sa.ColumnElement[bool]:
    """Return the condition that a contact is a workspace's, and not erased."""
    return sa.and_(Contact.workspace_id == workspace_id, Contact.erased_at.is_(None))


def _require_free(session: Session, workspace_id: uuid.UUID, name: str) -> None:
    # One after the other, so that of two who take a name at once the second is told.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"segment:{workspace_id}:{name}"))))
    query = sa.select(Segment.id).where(Segment.workspace_id == workspace_id, Segment.name == name)
    if (taken := session.scalar(query)) is not None:
        raise Conflict(f"There is a segment {name!r} already: {taken}.", code="segment_exists")
