"""An audience: all contacts, those with a tag, those of a segment, or these. Who is erased is never in one."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import segments
from crm_tasks.contacts.models import Contact

MOST_IDS = 10_000
MOST_TAGS = 50
LONGEST_TAG = 64


class AudienceSchema(ma.Schema):
    """Who is meant: exactly one of `all`, `tags`, `segment_id` and `contact_ids`."""

    all = ma.fields.Boolean(truthy={True}, falsy=set(), error_messages={"invalid": "Give true, or leave it out."})
    tags = ma.fields.List(
        ma.fields.String(validate=ma.validate.Length(1, LONGEST_TAG)),
        validate=ma.validate.Length(1, MOST_TAGS),
        metadata={"description": "Who has any of these"},
    )
    segment_id = ma.fields.UUID()
    contact_ids = ma.fields.List(ma.fields.UUID(), validate=ma.validate.Length(1, MOST_IDS))

    @ma.validates_schema
    def _exactly_one(self, data: Mapping[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ma.ValidationError("Give exactly one of: all, tags, segment_id, contact_ids.")


def select(session: Session, workspace_id: uuid.UUID, audience: Mapping[str, Any]) -> sa.Select[uuid.UUID]:
    """Return the query for the ids of who is meant, in no order; ids may come as text, as they are stored.

    Raises:
        NotFound: no such segment here. Invalid: the segment's conditions cannot be used any more.
    """
    return sa.select(Contact.id).where(condition(session, workspace_id, audience))


def condition(session: Session, workspace_id: uuid.UUID, audience: Mapping[str, Any]) -> sa.ColumnElement[bool]:
    """Return the same as a condition on `Contact`.

    Raises:
        NotFound: no such segment here. Invalid: the segment's conditions cannot be used any more.
    """
    return sa.and_(segments.present(workspace_id), _meant(session, workspace_id, audience))


def count(session: Session, workspace_id: uuid.UUID, audience: Mapping[str, Any]) -> int:
    """Return how many are meant, now.

    Raises:
        NotFound: no such segment here. Invalid: the segment's conditions cannot be used any more.
    """
    wanted = condition(session, workspace_id, audience)
    return session.scalar(sa.select(sa.func.count()).select_from(Contact).where(wanted)) or 0


def tagged(tags: Iterable[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a contact has one of these tags."""
    wanted = sorted({tag.strip().lower() for tag in tags})
    return Contact.tags.op("&&", is_comparison=True)(sa.cast(wanted, sa.ARRAY(sa.Text())))


def _meant(session: Session, workspace_id: uuid.UUID, audience: Mapping[str, Any]) -> sa.ColumnElement[bool]:
    ((name, value),) = audience.items()
    if name == "all":
        return sa.true()
    if name == "tags":
        return tagged(value)
    if name == "contact_ids":
        ids = [uuid.UUID(str(each)) for each in value]
        return Contact.id == sa.any_(sa.cast(ids, sa.ARRAY(sa.Uuid())))
    segment = segments.get(session, workspace_id, uuid.UUID(str(value)))
    return segments.compile(session, workspace_id, segment.conditions)
