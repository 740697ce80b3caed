"""One action on all contacts of an audience, batch by batch in the order of their ids.

Each batch moves cursor and totals in the transaction that changes the contacts: killed anywhere, it goes on there, and
nobody is counted twice. Who became a contact after the beginning is not meant.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import audience as audiences
from crm_tasks.contacts import directory
from crm_tasks.contacts.models import Contact
from crm_tasks.contacts.schemas import MOST_TAGS
from crm_tasks.core.db import changed, dumps, now
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.imports.bulk_models import OPEN, Action, BulkAction, WorkState
from crm_tasks.messages.service import removing

log = get_logger(__name__)

BATCH = 1_000
# Each has a history to clear before.
DELETED_AT_ONCE = 200


def start(
    session: Session,
    workspace_id: uuid.UUID,
    action: Action,
    *,
    audience: Mapping[str, Any],
    value: Mapping[str, Any],
    actor: str,
) -> BulkAction:
    """Accept an action: the row and its job.

    Raises:
        Invalid: the value does not belong to the action, or no such user. NotFound: no such segment here.
    """
    wanted = _checked(session, workspace_id, action, value)
    made = BulkAction(
        id=new_id(),
        workspace_id=workspace_id,
        action=action,
        audience=_as_text(audience),
        value=_as_text(wanted),
        actor=actor,
    )
    made.audience_size = session.scalar(sa.select(sa.func.count()).select_from(_meant(session, made).subquery()))
    session.add(made)
    session.flush()
    made.job_id = _enqueue(session, made)
    session.flush()
    session.refresh(made)
    return made


def get(session: Session, workspace_id: uuid.UUID, bulk_id: uuid.UUID) -> BulkAction:
    """Return an action.

    Raises:
        NotFound: there is none of this id here.
    """
    found = session.get(BulkAction, bulk_id)
    if found is None or found.workspace_id != workspace_id:
        raise NotFound(f"There is no bulk action {bulk_id}.", code="bulk_not_found")
    return found


def listed(
    session: Session, workspace_id: uuid.UUID, *, before: uuid.UUID | None = None, limit: int = 50
) -> list[BulkAction]:
    """Return actions, the newest first."""
    query = sa.select(BulkAction).where(BulkAction.workspace_id == workspace_id)
    if before is not None:
        query = query.where(BulkAction.id < before)
    return list(session.scalars(query.order_by(BulkAction.id.desc()).limit(limit)))


def cancel(session: Session, workspace_id: uuid.UUID, bulk_id: uuid.UUID, *, actor: str) -> BulkAction:
    """Stop an action; what it has done stays done.

    Raises:
        NotFound: no such action. Conflict: it is over.
    """
    found = get(session, workspace_id, bulk_id)
    session.refresh(found, with_for_update=True)
    if found.state not in OPEN:
        raise Conflict(f"This action is {found.state}.", code="bulk_over")
    assert found.job_id is not None
    repair.cancel(session, found.job_id, actor=actor, reason="cancelled")
    session.refresh(found)
    return found


def follow(session: Session, state: JobState, error: BaseException | None, bulk_id: str) -> None:
    """Keep an action in step with its job when that leaves without success."""
    found = session.get(BulkAction, uuid.UUID(bulk_id), with_for_update=True, populate_existing=True)
    if found is None or found.state in (WorkState.FINISHED,):
        return
    if state is JobState.QUEUED:
        found.state, found.finished_at = WorkState.QUEUED, None
    elif state in (JobState.DEAD, JobState.CANCELLED):
        found.state = WorkState.FAILED if state is JobState.DEAD else WorkState.CANCELLED
        found.finished_at = session.scalar(sa.select(now()))
    session.flush()


def step(session: Session, bulk_id: uuid.UUID) -> BulkAction | None:
    """Do one batch; None if there is nothing left to do, or the action was stopped."""
    found = session.get(BulkAction, bulk_id, with_for_update=True, populate_existing=True)
    if found is None or found.state not in OPEN:
        return None
    found.started_at = found.started_at or session.scalar(sa.select(now()))
    found.state = WorkState.RUNNING
    ids = next_ids(session, found)
    if not ids:
        found.state, found.finished_at = WorkState.FINISHED, session.scalar(sa.select(now()))
        return None
    done, failed = _apply(session, found, ids)
    found.cursor = ids[-1]
    found.matched, found.changed, found.failed = found.matched + len(ids), found.changed + done, found.failed + failed
    return found


def clear(session: Session, bulk_id: uuid.UUID) -> int:
    """Remove a part of the messages of whom the next batch deletes; 0 when all are gone, or nobody is deleted."""
    found = session.get(BulkAction, bulk_id)
    if found is None or found.action is not Action.DELETE or found.state not in OPEN:
        return 0
    ids = next_ids(session, found)
    free = [each for each in ids if each not in removing.busy(session, ids)] if ids else []
    return removing.clear(session, free, actor=found.actor) if free else 0


def go_on(session: Session, bulk_id: uuid.UUID) -> None:
    """Have another job do the rest."""
    found = session.get_one(BulkAction, bulk_id, with_for_update=True, populate_existing=True)
    if found.state in OPEN:
        found.job_id = _enqueue(session, found)


def next_ids(session: Session, found: BulkAction) -> list[uuid.UUID]:
    """Return whom the next batch is about."""
    limit = DELETED_AT_ONCE if found.action is Action.DELETE else BATCH
    query = _meant(session, found)
    if found.cursor is not None:
        query = query.where(Contact.id > found.cursor)
    return list(session.scalars(query.order_by(Contact.id).limit(limit)))


def _meant(session: Session, found: BulkAction) -> sa.Select[uuid.UUID]:
    query = audiences.select(session, found.workspace_id, found.audience)
    return query.where(Contact.workspace_id == found.workspace_id, Contact.id < found.id)


def _enqueue(session: Session, found: BulkAction) -> uuid.UUID:
    scopes = [f"bulk:{found.id}"]
    return enqueue(session, "imports.bulk", args={"bulk_id": found.id}, workspace_id=found.workspace_id, scopes=scopes)


def _apply(session: Session, found: BulkAction, ids: Sequence[uuid.UUID]) -> tuple[int, int]:
    """Change a batch, and return how many were changed and how many could not be."""
    if found.action is Action.DELETE:
        gone = removing.drop(session, found.workspace_id, ids)
        return gone, len(ids) - gone
    if found.action is Action.ASSIGN:
        user = found.value["user_id"]
        values = {"assigned_to": uuid.UUID(user) if user else None}
        return _update(session, ids, Contact.assigned_to.is_distinct_from(values["assigned_to"]), values), 0
    tags = sa.cast(found.value["tags"], sa.ARRAY(sa.Text()))
    if found.action is Action.UNTAG:
        left = sa.text("ARRAY(SELECT t FROM unnest(contacts.tags) t WHERE t <> ALL(cast(:tags AS text[])) ORDER BY t)")
        has = Contact.tags.op("&&", is_comparison=True)(tags)
        return _update(session, ids, has, {"tags": left.bindparams(tags=found.value["tags"])}), 0
    return _tag(session, found, ids, tags)


def _tag(session: Session, found: BulkAction, ids: Sequence[uuid.UUID], tags: Any) -> tuple[int, int]:
    """Add tags; who would have too many keeps what there is and counts as failed."""
    together = "SELECT DISTINCT t FROM unnest(contacts.tags || cast(:tags AS text[])) t"
    fits = sa.text(f"(SELECT count(*) FROM ({together}) every) <= {MOST_TAGS}")  # noqa: S608  our own words
    added = sa.text(f"ARRAY({together} ORDER BY t)")
    bound = {"tags": found.value["tags"]}
    lacks = sa.not_(Contact.tags.op("@>", is_comparison=True)(tags))
    condition = sa.and_(lacks, fits.bindparams(**bound))
    done = _update(session, ids, condition, {"tags": added.bindparams(**bound)})
    left = sa.select(sa.func.count()).select_from(Contact).where(Contact.id.in_(ids), lacks)
    return done, session.scalar(left) or 0


def _update(session: Session, ids: Sequence[uuid.UUID], condition: Any, values: Mapping[str, Any]) -> int:
    # In the order of their ids, so that two actions at once wait for each other rather than for ever.
    locked = sa.select(Contact.id).where(Contact.id.in_(ids), condition).order_by(Contact.id).with_for_update()
    statement = sa.update(Contact).where(Contact.id.in_(locked)).values({**values, "updated_at": now()})
    return changed(session.execute(statement.execution_options(synchronize_session=False)))


def _checked(session: Session, workspace_id: uuid.UUID, action: Action, value: Mapping[str, Any]) -> dict[str, Any]:
    name = {Action.TAG: "tags", Action.UNTAG: "tags", Action.ASSIGN: "user_id"}.get(action)
    if unknown := sorted(set(value) - {name}):
        raise Invalid(f"{action} takes no {unknown[0]}.", fields=[FieldError(unknown[0], "Leave this out.")])
    if name is None:
        return {}
    if name not in value or value[name] == []:
        raise Invalid(f"{action} needs {name}.", fields=[FieldError(name, f"Say which {name}.")])
    if value.get("user_id") is not None:
        directory.require_user(session, workspace_id, value["user_id"], "user_id")
    return dict(value)


def _as_text(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold: ids as text."""
    return orjson.loads(dumps(value))
