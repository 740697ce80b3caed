"""Holds stop work by scope: nothing held is rung or claimed, anywhere, until the hold is released or expires.

Pausing a queue, a workspace, a channel or a campaign is a row here and not a trick on the broker, so it outlives
every restart and binds workers that start later.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed, now
from crm_tasks.core.errors import Conflict, Invalid, NotFound
from crm_tasks.core.jobs.model import UNKNOWN_TASK, Hold, Job, JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.queues import queue_named

log = get_logger(__name__)

# How many jobs change hands in one transaction when a hold begins or ends.
BATCH = 5_000
_PLAIN = ("all",)
_PREFIXES = ("queue:", "task:", "workspace:", "channel:", "endpoint:", "campaign:", "contact:", "conversation:")


def active() -> sa.ColumnElement[bool]:
    """Return the condition that a hold is in force (`model.HOLDING` is the same in SQL)."""
    return sa.and_(Hold.released_at.is_(None), sa.or_(Hold.expires_at.is_(None), Hold.expires_at > now()))


def place(
    session: Session,
    scope: str,
    *,
    reason: str,
    actor: str,
    expires_at: datetime | None = None,
    workspace_id: uuid.UUID | None = None,
) -> Hold:
    """Stop everything in `scope` from being started. What already runs finishes.

    Raises:
        Invalid: not a scope, no reason, or an expiry in the past.
    """
    scope = _checked(scope)
    if not reason.strip():
        raise Invalid("A hold needs a reason, so that others know why work waits.", code="reason_missing")
    if expires_at is not None and expires_at <= session.scalar(sa.select(now())):  # type: ignore[operator]
        raise Invalid("The expiry is in the past.", code="bad_expiry")
    hold = Hold(scope=scope, reason=reason.strip(), actor=actor, expires_at=expires_at, workspace_id=workspace_id)
    session.add(hold)
    session.flush()
    session.refresh(hold)
    log.info("hold.placed", hold_id=str(hold.id), scope=scope, actor=actor)
    return hold


def release(session: Session, hold_id: uuid.UUID, *, actor: str, workspace_id: uuid.UUID | None = None) -> Hold:
    """End a hold now; the scheduler lets its jobs go within a second, 5,000 at a time.

    Raises:
        NotFound: no such hold in this workspace.
        Conflict: it has ended already.
    """
    hold = session.get(Hold, hold_id, with_for_update=True)
    if hold is None or (workspace_id is not None and hold.workspace_id != workspace_id):
        raise NotFound(f"There is no hold {hold_id}.")
    if hold.released_at is not None:
        raise Conflict(f"This hold was released by {hold.released_by}.", code="already_released")
    hold.released_at = session.scalar(sa.select(now()))
    hold.released_by = actor
    log.info("hold.released", hold_id=str(hold.id), scope=hold.scope, actor=actor)
    return hold


def release_scope(session: Session, scope: str, *, actor: str) -> int:
    """End every hold of exactly this scope and return how many there were."""
    found = session.scalars(sa.select(Hold).where(active(), Hold.scope == _checked(scope)).with_for_update()).all()
    for hold in found:
        release(session, hold.id, actor=actor)
    return len(found)


def listed(session: Session, *, workspace_id: uuid.UUID | None = None, ended: bool = False) -> list[Hold]:
    """Return the holds in force, newest first; with `ended`, the last 200 of any kind.

    A workspace sees its own holds; those of the operators (no workspace) it sees as well, as they stop it too.
    """
    query = sa.select(Hold).order_by(Hold.id.desc()).limit(200)
    if not ended:
        query = query.where(active())
    if workspace_id is not None:
        query = query.where(sa.or_(Hold.workspace_id == workspace_id, Hold.workspace_id.is_(None)))
    return list(session.scalars(query))


def in_force(session: Session, scopes: Iterable[str]) -> list[Hold]:
    """Return the holds in force on exactly these scopes, whoever placed them, newest first."""
    return list(session.scalars(sa.select(Hold).where(active(), Hold.scope.in_(scopes)).order_by(Hold.id.desc())))


def held_counts(session: Session, *, workspace_id: uuid.UUID | None = None) -> dict[str, int]:
    """Return how many jobs, of a workspace or of all, wait behind each hold, by hold id."""
    query = sa.select(Job.held_by, sa.func.count()).where(*_held()).group_by(Job.held_by)
    if workspace_id is not None:
        query = query.where(Job.workspace_id == workspace_id)
    return dict(session.execute(query).all())  # type: ignore[arg-type]


def let_go(session: Session) -> int:
    """Free up to 5,000 jobs whose hold has ended, and return how many. Costs one look per hold, not per job."""
    over = [held_by for held_by in _holders(session) if held_by != UNKNOWN_TASK]
    if not over:
        return 0
    in_force = set(session.scalars(sa.select(sa.cast(Hold.id, sa.Text)).where(active())))
    over = [held_by for held_by in over if held_by not in in_force]
    return free(session, Job.held_by.in_(over)) if over else 0


def free(session: Session, condition: sa.ColumnElement[bool]) -> int:
    """Let up to 5,000 held jobs that meet the condition be rung again."""
    batch = sa.select(Job.id).where(*_held(), condition).order_by(Job.id).limit(BATCH).with_for_update(skip_locked=True)
    statement = sa.update(Job).where(Job.id.in_(batch)).values(held_by=None, rung_at=None)
    return changed(session.execute(statement.execution_options(synchronize_session=False)))


def _held() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return Job.state == sa.literal_column(f"'{JobState.QUEUED}'"), Job.held_by.is_not(None)


def _holders(session: Session) -> list[str]:
    """Return the distinct values of `held_by`, skipping through the index instead of reading every held job."""
    first = sa.select(sa.func.min(Job.held_by).label("held_by")).where(*_held()).cte("holders", recursive=True)
    following = sa.select(sa.func.min(Job.held_by)).where(*_held(), Job.held_by > first.c.held_by).scalar_subquery()
    holders = first.union_all(sa.select(following).where(first.c.held_by.is_not(None)))
    return [held_by for held_by in session.scalars(sa.select(holders.c.held_by)) if held_by is not None]


def _checked(scope: str) -> str:
    scope = scope.strip()
    if scope in _PLAIN:
        return scope
    prefix, _, value = scope.partition(":")
    if f"{prefix}:" not in _PREFIXES or not value:
        raise Invalid(
            f"{scope!r} is not a scope.",
            code="bad_scope",
            hint=f"Use all, or one of {', '.join(_PREFIXES)} and a name.",
        )
    if prefix == "queue":
        return f"queue:{queue_named(value)}"
    return f"{prefix}:{_written(prefix, value)}"


def _written(prefix: str, value: str) -> str:
    """Return an id as jobs name it: a hold in another spelling would stop nothing, and nobody would know."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        if prefix == "workspace":
            raise Invalid(f"{value!r} is not the id of a workspace.", code="bad_scope") from None
        return value
