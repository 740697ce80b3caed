"""Erasure of a person: at once nobody can write to them by us any more, then every store is gone through.

What is left is the id of the contact, on which histories and figures hang, what the person had refused (as a hash), and
a certificate. Each step is a short transaction that moves cursor and counts with what it does.
"""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import directory, forgotten
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.core.db import changed, now
from crm_tasks.core.errors import NotFound
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.imports import stores as places
from crm_tasks.imports import traces
from crm_tasks.imports.bulk_models import Erasure, WorkState
from crm_tasks.messages.models import Conversation

log = get_logger(__name__)

# Nothing is retried by the queue itself; what a database did for a moment must not leave a person half erased.
ATTEMPTS = 5
STEPS = len(places.TRACES)
BACKUPS = (
    "Backups are not rewritten: they hold the person until they are deleted by your retention of backups. "
    "After restoring one, erase again whoever was erased since it was made."
)
# What is done at once, in the transaction that accepts the erasure.
_AT_ONCE = {
    "contacts": "emptied; its id stays, on which history and figures hang",
    "identities": "deleted",
    "suppressions": "kept as a keyed hash without evidence: what was refused stays refused",
    "consent_events": "kept as a keyed hash without evidence",
}
_NOWHERE = {
    "redis": "holds ids and figures only, nothing of people",
    "logs": "hold ids only, nothing of people",
}


def begin(session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, *, actor: str) -> Erasure:
    """Erase what is looked up by, and have a job go through the rest; asked again, the same erasure is returned.

    Raises:
        NotFound: no such contact here.
    """
    contact = directory.get(session, workspace_id, contact_id, lock=True)
    if (known := of_contact(session, contact_id)) is not None:
        return known
    wanted, addresses = _wanted(session, contact)
    stores = {"contacts": 1, **forgotten.hide(session, workspace_id, addresses)}
    removed = sa.delete(Identity).where(Identity.contact_id == contact_id)
    stores["identities"] = changed(session.execute(removed.execution_options(synchronize_session=False)))
    _empty(session, contact)
    erasure = Erasure(
        id=new_id(), workspace_id=workspace_id, contact_id=contact_id, wanted=wanted, stores=stores, actor=actor
    )
    session.add(erasure)
    session.flush()
    erasure.job_id = _enqueue(session, erasure)
    session.flush()
    session.refresh(erasure)
    log.info("contact.erasing", contact_id=str(contact_id), erasure_id=str(erasure.id), actor=actor)
    return erasure


def get(session: Session, workspace_id: uuid.UUID, erasure_id: uuid.UUID) -> Erasure:
    """Return an erasure.

    Raises:
        NotFound: there is none of this id here.
    """
    found = session.get(Erasure, erasure_id)
    if found is None or found.workspace_id != workspace_id:
        raise NotFound(f"There is no erasure {erasure_id}.", code="erasure_not_found")
    return found


def of_contact(session: Session, contact_id: uuid.UUID) -> Erasure | None:
    """Return the erasure of a contact, if there was one."""
    return session.scalar(sa.select(Erasure).where(Erasure.contact_id == contact_id))


def listed(
    session: Session, workspace_id: uuid.UUID, *, before: uuid.UUID | None = None, limit: int = 50
) -> list[Erasure]:
    """Return erasures, the newest first."""
    query = sa.select(Erasure).where(Erasure.workspace_id == workspace_id)
    if before is not None:
        query = query.where(Erasure.id < before)
    return list(session.scalars(query.order_by(Erasure.id.desc()).limit(limit)))


def certificate(erasure: Erasure) -> list[dict[str, Any]]:
    """Return every store, how many of its rows were touched so far, and what was done to them."""
    done = dict(_AT_ONCE)
    for trace in places.TRACES:
        done |= {store: what for store, what in trace.stores.items() if what}
    looked = [{"store": name, "rows": erasure.stores.get(name), "what": what} for name, what in done.items()]
    return [*looked, *({"store": name, "rows": 0, "what": what} for name, what in _NOWHERE.items())]


def follow(session: Session, state: JobState, error: BaseException | None, erasure_id: str) -> None:
    """Keep an erasure in step with its job when that leaves without success."""
    found = session.get(Erasure, uuid.UUID(erasure_id), with_for_update=True, populate_existing=True)
    if found is None or found.state is WorkState.FINISHED:
        return
    states = {JobState.DEAD: WorkState.FAILED, JobState.CANCELLED: WorkState.CANCELLED}
    found.state = states.get(state, WorkState.QUEUED)
    session.flush()


def step(session: Session, erasure_id: uuid.UUID) -> int | None:
    """Do one part of one store, and return which; None when all is done.

    Raises:
        Snooze: a message to the person is under way at this moment.
    """
    found = session.get(Erasure, erasure_id, with_for_update=True, populate_existing=True)
    if found is None or found.wanted is None:
        return None
    at = found.cursor.get("trace", 0)
    if at >= STEPS:
        found.state, found.finished_at = WorkState.FINISHED, session.scalar(sa.select(now()))
        found.wanted, found.cursor = None, {}
        log.info("contact.erased", contact_id=str(found.contact_id), erasure_id=str(found.id))
        return None
    trace = places.TRACES[at]
    counts, after = trace.step(session, traces.subject(found), found.cursor.get("after"))
    found.state = WorkState.RUNNING
    looked = {store: found.stores.get(store, 0) + counts.get(store, 0) for store in {*trace.stores, *counts}}
    found.stores = {**found.stores, **looked}
    found.cursor = {"trace": at, "after": after} if after is not None else {"trace": at + 1}
    return at


def name_of(position: int) -> str:
    """Return the store of a step."""
    return next(iter(places.TRACES[position].stores))


def go_on(session: Session, erasure_id: uuid.UUID) -> None:
    """Have another job do the rest."""
    found = session.get_one(Erasure, erasure_id, with_for_update=True, populate_existing=True)
    if found.wanted is not None:
        found.job_id = _enqueue(session, found)


def _enqueue(session: Session, erasure: Erasure) -> uuid.UUID:
    return enqueue(
        session,
        "imports.erase",
        args={"erasure_id": erasure.id},
        workspace_id=erasure.workspace_id,
        max_attempts=ATTEMPTS,
        # An erasure is a promise with a date; an import is not.
        priority=3,
    )


def _wanted(session: Session, contact: Contact) -> tuple[dict[str, Any], list[str]]:
    """Return what to look for, and the addresses that are the person's own today.

    A number that was given up may be somebody else's by now: that one's words are not taken for this person's.
    """
    named = directory.identities(session, [contact.id])[contact.id]
    given_up = [each.value for each in named if each.retired_at is not None]
    others = set(
        session.scalars(
            sa.select(Identity.value).where(
                Identity.workspace_id == contact.workspace_id,
                Identity.value.in_(given_up),
                Identity.retired_at.is_(None),
                Identity.contact_id != contact.id,
            )
        )
    )
    own = sorted({each.value for each in named} - others)
    conversations = session.scalars(sa.select(Conversation.id).where(Conversation.contact_id == contact.id))
    texts = [*own, contact.username, contact.external_id, str(contact.id), *map(str, conversations)]
    needles = sorted({text.lstrip("+").lower() for text in texts if text and len(text) >= traces.SHORTEST})
    name = (contact.name or "").strip().lower()
    return {"needles": needles, "name": name if len(name) >= traces.SHORTEST_NAME else ""}, own


def _empty(session: Session, contact: Contact) -> None:
    contact.name = contact.username = contact.profile_at = contact.external_id = None
    contact.assigned_to = contact.time_zone = contact.locale = contact.duplicate_of = contact.import_id = None
    contact.attributes, contact.tags = {}, []
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    contact.erased_at = contact.updated_at = moment
    session.flush()
