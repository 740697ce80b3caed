"""Taking back what an import did, a batch at a time: those it made go, those it changed are as they were before.

Who has talked since stays, and so does every field that somebody has changed since.
"""

import uuid
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.models import ConsentEvent, Contact, Identity
from crm_tasks.core.db import changed, now
from crm_tasks.core.jobs.model import JobState
from crm_tasks.imports import ids
from crm_tasks.imports.models import Import, ImportChange, ImportState
from crm_tasks.imports.service import enqueue_undo
from crm_tasks.messages.models import Conversation

# Rows of one transaction.
BATCH = 2_000
_JOURNAL = """
    WITH batch AS (
        SELECT * FROM import_changes WHERE import_id = :import_id AND contact_id = ANY(:ids)
    ), put_back AS (
        UPDATE contacts c SET
            name = CASE WHEN c.name IS NOT DISTINCT FROM j.after->>'name' THEN j.before->>'name' ELSE c.name END,
            locale = CASE WHEN c.locale IS NOT DISTINCT FROM j.after->>'locale'
                THEN j.before->>'locale' ELSE c.locale END,
            time_zone = CASE WHEN c.time_zone IS NOT DISTINCT FROM j.after->>'time_zone'
                THEN j.before->>'time_zone' ELSE c.time_zone END,
            external_id = CASE WHEN c.external_id IS NOT DISTINCT FROM j.after->>'external_id' AND NOT EXISTS (
                    SELECT FROM contacts o WHERE o.workspace_id = c.workspace_id
                        AND o.external_id = j.before->>'external_id' AND o.id <> c.id)
                THEN j.before->>'external_id' ELSE c.external_id END,
            attributes = CASE WHEN c.attributes = j.after->'attributes'
                THEN j.before->'attributes' ELSE c.attributes END,
            tags = CASE WHEN to_jsonb(c.tags) = j.after->'tags'
                THEN ARRAY(SELECT jsonb_array_elements_text(j.before->'tags')) ELSE c.tags END,
            updated_at = CASE WHEN to_jsonb(c.updated_at) = j.after->'updated_at'
                THEN cast(j.before->>'updated_at' AS timestamptz) ELSE crm_now() END
        FROM batch j WHERE c.id = j.contact_id AND c.id = ANY(:ids) AND c.workspace_id = :workspace_id
        RETURNING c.id, jsonb_build_object('name', c.name, 'tags', c.tags, 'attributes', c.attributes, 'external_id',
            c.external_id, 'locale', c.locale, 'time_zone', c.time_zone) = j.before - 'updated_at' AS whole
    )
    SELECT count(*) FILTER (WHERE whole), count(*) FILTER (WHERE NOT whole) FROM put_back
"""


def step(session: Session, import_id: uuid.UUID) -> bool:
    """Take back a batch; False once all is as it was."""
    found = session.get_one(Import, import_id, with_for_update=True, populate_existing=True)
    if found.state is not ImportState.UNDOING:
        return False
    name = found.undo_step or next(iter(_STEPS))
    cursor = _STEPS[name](session, found)
    if cursor is not None:
        found.undo_step, found.undo_cursor = name, cursor
        return True
    names = list(_STEPS)
    following = names[names.index(name) + 1 :]
    if following:
        found.undo_step, found.undo_cursor = following[0], None
        return True
    found.state, found.finished_at = ImportState.UNDONE, session.scalar(sa.select(now()))
    return False


def _made(session: Session, found: Import) -> uuid.UUID | None:
    """Remove contacts that the import made; return the last one looked at, None if there is none left."""
    query = sa.select(Contact.id).where(Contact.import_id == found.id, Contact.workspace_id == found.workspace_id)
    if found.undo_cursor is not None:
        query = query.where(Contact.id > found.undo_cursor)
    batch = list(session.scalars(query.order_by(Contact.id).limit(BATCH).with_for_update()))
    if not batch:
        return None
    talked = set(session.scalars(sa.select(Conversation.contact_id).where(Conversation.contact_id.in_(batch))))
    removed = [contact_id for contact_id in batch if contact_id not in talked]
    for statement in (
        sa.delete(Identity).where(Identity.contact_id.in_(removed)),
        sa.delete(Contact).where(Contact.id.in_(removed)),
    ):
        session.execute(statement.execution_options(synchronize_session=False))
    _count(found, removed=len(removed), kept=len(batch) - len(removed))
    return batch[-1]


def _changed(session: Session, found: Import) -> uuid.UUID | None:
    """Put back what the import changed."""
    query = sa.select(ImportChange.contact_id, ImportChange.identity_ids).where(ImportChange.import_id == found.id)
    if found.undo_cursor is not None:
        query = query.where(ImportChange.contact_id > found.undo_cursor)
    batch = session.execute(query.order_by(ImportChange.contact_id).limit(BATCH)).all()
    if not batch:
        return None
    contacts = [row.contact_id for row in batch]
    locked = sa.select(Contact.id).where(Contact.id.in_(contacts)).order_by(Contact.id).with_for_update()
    session.execute(locked)
    given = [identity_id for row in batch for identity_id in row.identity_ids]
    of_them = sa.and_(Identity.id.in_(given), Identity.workspace_id == found.workspace_id)
    session.execute(sa.delete(Identity).where(of_them).execution_options(synchronize_session=False))
    values = {"import_id": found.id, "workspace_id": found.workspace_id, "ids": contacts}
    whole, partly = session.execute(sa.text(_JOURNAL), values).one()
    _count(found, restored=whole, kept=partly)
    return contacts[-1]


def _said(session: Session, found: Import) -> uuid.UUID | None:
    """Remove the words of consent that came with the file."""
    lowest, highest = ids.bounds(found.id)
    batch = (
        sa.select(ConsentEvent.id)
        .where(
            ConsentEvent.id.between(lowest, highest),
            ConsentEvent.workspace_id == found.workspace_id,
            ConsentEvent.evidence["import_id"].astext == str(found.id),
        )
        .limit(BATCH)
    )
    statement = sa.delete(ConsentEvent).where(ConsentEvent.id.in_(batch)).execution_options(synchronize_session=False)
    return found.id if changed(session.execute(statement)) else None


def _count(found: Import, **more: int) -> None:
    found.undone = {**found.undone, **{name: found.undone.get(name, 0) + count for name, count in more.items()}}


# In this order; each returns where it is, None once nothing is left to it.
_STEPS: dict[str, Callable[[Session, Import], uuid.UUID | None]] = {"made": _made, "changed": _changed, "said": _said}


def go_on(session: Session, import_id: uuid.UUID) -> None:
    """Have another job go on with it."""
    found = session.get_one(Import, import_id, with_for_update=True, populate_existing=True)
    found.job_id = enqueue_undo(session, found)


def follow(session: Session, state: JobState, error: BaseException | None, import_id: str) -> None:
    """Say of an import whose undo stopped that it failed, so that it can be asked for again."""
    found = session.get(Import, uuid.UUID(import_id), with_for_update=True, populate_existing=True)
    if found is None:
        return
    if state is JobState.QUEUED and found.state is ImportState.FAILED:
        found.state, found.reason_code, found.reason = ImportState.UNDOING, None, None
    if state is not JobState.QUEUED and found.state is ImportState.UNDOING:
        why = type(error).__name__ if error else "its job was cancelled"
        found.state, found.reason_code = ImportState.FAILED, "undo_stopped"
        found.reason = f"The undo stopped: {why}. Ask for it again; it goes on."
