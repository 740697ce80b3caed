"""The jobs that have to do with a person: those that send messages to them."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import search
from crm_tasks.messages.models import Message

MOST_PEOPLE, MOST_JOBS = 20, 500


def of_person(session: Session, workspace_id: uuid.UUID, who: str) -> list[uuid.UUID]:
    """Return the newest jobs of a contact, by its id, or of those whom a part of a name, number or address finds."""
    query = sa.select(Message.job_id).where(
        Message.workspace_id == workspace_id,
        Message.contact_id.in_(_people(session, workspace_id, who)),
        Message.job_id.is_not(None),
    )
    return [job_id for job_id in session.scalars(query.order_by(Message.id.desc()).limit(MOST_JOBS)) if job_id]


def _people(session: Session, workspace_id: uuid.UUID, who: str) -> list[uuid.UUID]:
    try:
        return [uuid.UUID(who)]
    except ValueError:
        found = search.listed(session, workspace_id, q=who[: search.LONGEST], limit=MOST_PEOPLE)
        return [each.id for each in found]
