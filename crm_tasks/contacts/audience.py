"""An audience: all contacts, those with a tag, those of a segment, or these. Who is erased is never in one."""

import uuid
from collections.abc import Mapping
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.models import Contact
from crm_tasks.core.errors import NotFound

MOST_IDS = 10_000


class AudienceSchema(ma.Schema):
    """Who is meant: exactly one of `all`, `tags`, `segment_id` and `contact_ids`."""

    all = ma.fields.Boolean(truthy={True}, falsy=set(), error_messages={"invalid": "Give true, or leave it out."})
    tags = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 64)), validate=ma.validate.Length(1, 50))
    segment_id = ma.fields.UUID()
    contact_ids = ma.fields.List(ma.fields.UUID(), validate=ma.validate.Length(1, MOST_IDS))

    @ma.validates_schema
    def _exactly_one(self, data: Mapping[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ma.ValidationError("Give exactly one of: all, tags, segment_id, contact_ids.")


def select(session: Session, workspace_id: uuid.UUID, audience: Mapping[str, Any]) -> sa.Select[uuid.UUID]:
    """Return the query for the ids of who is meant, in no order; ids may come as text, as they are stored."""
    ((name, value),) = audience.items()
    query = sa.select(Contact.id).where(Contact.workspace_id == workspace_id, Contact.erased_at.is_(None))
    if name == "tags":
        wanted = sorted({tag.strip().lower() for tag in value})
        return query.where(Contact.tags.op("&&", is_comparison=True)(sa.cast(wanted, sa.ARRAY(sa.Text()))))
    if name == "contact_ids":
        ids = [uuid.UUID(str(each)) for each in value]
        return query.where(Contact.id == sa.any_(sa.cast(ids, sa.ARRAY(sa.Uuid()))))
    if name == "segment_id":
        raise NotFound(f"There is no segment {value}.", code="segment_not_found")
    return query
