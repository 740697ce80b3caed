"""What somebody of the audience would see, while a campaign is still being written. Nothing is kept or refused."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.service import rendering, verdicts
from crm_tasks.campaigns.service.rendering import Missing, Person
from crm_tasks.contacts import audience
from crm_tasks.contacts.models import Contact
from crm_tasks.core import cache
from crm_tasks.core.db import dumps
from crm_tasks.messages.models import Category
from crm_tasks.messages.service.look import prospects
from crm_tasks.templates import service as templates
from crm_tasks.templates.shape import Laid
from crm_tasks.workspaces.models import Channel


@dataclass(frozen=True, slots=True)
class Preview:
    """A message as one person would see it, and a value that this person lacks."""

    laid: Laid
    contact_id: uuid.UUID | None = None
    name: str = ""
    missing: str = ""


def count(session: Session, workspace_id: uuid.UUID, wanted: Mapping[str, Any]) -> int:
    """Return how many are meant; of many, as it was some seconds ago.

    Raises:
        NotFound: no such segment here. Invalid: the segment's conditions cannot be used any more.
    """
    asked = dumps(orjson.loads(dumps(wanted)))
    key = f"audience:{workspace_id}:{uuid.uuid5(workspace_id, asked)}"
    return cache.counted(key, lambda: audience.count(session, workspace_id, wanted), lambda number: number)


def people(
    session: Session,
    workspace_id: uuid.UUID,
    wanted: Mapping[str, Any],
    *,
    after: uuid.UUID | None = None,
    limit: int = 1,
) -> list[tuple[uuid.UUID, str | None]]:
    """Return some who are meant, by id and name, from behind one on; from the beginning again after the last.

    Raises:
        NotFound: no such segment here. Invalid: the segment's conditions cannot be used any more.
    """
    meant = audience.condition(session, workspace_id, wanted)
    query = sa.select(Contact.id, Contact.name).where(meant).order_by(Contact.id).limit(limit)
    found = session.execute(query.where(Contact.id > after) if after else query).all()
    if not found and after:
        return people(session, workspace_id, wanted, limit=limit)
    return [(row.id, row.name) for row in found]


def shown(session: Session, channel: Channel, message: Mapping[str, Any], contact_id: uuid.UUID | None) -> Preview:
    """Return what a person would see of a message; without a person, its places show their names."""
    kind = str(message.get("type") or "")
    content = message.get(kind) or {}
    person = _person(session, channel, kind, content, contact_id) if contact_id else Person()
    said = rendering.sample(content, person)
    lacks = rendering.render(content, person)
    return Preview(
        laid=laid(session, channel, kind, said),
        contact_id=contact_id,
        name=rendering.shown(person.get("name") or person.get("phone") or person.get("email")),
        missing=lacks.name if isinstance(lacks, Missing) and contact_id else "",
    )


def _person(session: Session, channel: Channel, kind: str, content: Mapping[str, Any], contact_id: uuid.UUID) -> Person:
    looks = prospects(
        session, channel.id, [contact_id], type=kind, content=content, category=Category.MARKETING, author="campaign"
    )
    return verdicts.people(session, looks).get(contact_id, Person())


def laid(session: Session, channel: Channel, kind: str, said: Mapping[str, Any]) -> Laid:
    """Return a content as a phone lays it out."""
    if kind == "template":
        template = templates.find(session, channel, *templates.named(dict(said)))
        return templates.laid(template, said.get("components")) if template else Laid(body=f"[{said.get('name', '')}]")
    if kind == "email":
        return Laid(header=str(said.get("subject") or ""), body=str(said.get("text") or said.get("html") or ""))
    return Laid(body=str(said.get("body") or said.get("caption") or ""), medium="" if kind == "text" else kind)
