"""What a person may do to a job: cancel, retry, discard, run now. Each is refused clearly in the wrong state."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed, now
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.core.jobs import registry, ring
from crm_tasks.core.jobs.enqueue import ring_after_commit
from crm_tasks.core.jobs.model import LIVE, Job, JobState
from crm_tasks.core.log import get_logger

log = get_logger(__name__)


def get(session: Session, job_id: uuid.UUID, *, workspace_id: uuid.UUID | None = None, lock: bool = False) -> Job:
    """Return a job, of this workspace if one is given.

    Raises:
        NotFound: no such job here.
    """
    query = sa.select(Job).where(Job.id == job_id)
    if workspace_id is not None:
        query = query.where(Job.workspace_id == workspace_id)
    if lock:
        # As it is now, not as this session has seen it: SQLAlchemy would keep what it read before the lock.
        query = query.with_for_update().execution_options(populate_existing=True)
    job = session.scalar(query)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def cancel(
    session: Session, job_id: uuid.UUID, *, actor: str, reason: str = "", workspace_id: uuid.UUID | None = None
) -> Job:
    """Cancel a job that waits or runs. What runs is not interrupted: it is told, and its outcome is fenced.

    Raises:
        NotFound: no such job. Conflict: it is over.
    """
    # Unlocked: its domain row is locked first, by `follow`, and the job last.
    job = get(session, job_id, workspace_id=workspace_id)
    if job.state not in LIVE:
        raise Conflict(
            f"This job is {job.state}; only one that is queued or running can be cancelled.", code="job_over"
        )
    registry.follow(session, job.task, JobState.CANCELLED, None, job.args)
    job = get(session, job_id, lock=True)
    if job.state not in LIVE:
        raise Conflict(f"This job has just become {job.state}.", code="job_over")
    _end(session, job, actor, reason or "cancelled")
    return job


def cancel_waiting(session: Session, ids: Sequence[uuid.UUID], *, actor: str, reason: str) -> int:
    """Cancel those of these jobs that wait, and return how many; their domain rows the caller has dealt with."""
    if not ids:
        return 0
    waiting = sa.select(Job.id).where(Job.id.in_(ids), Job.state == JobState.QUEUED).order_by(Job.id).with_for_update()
    statement = (
        sa.update(Job)
        .where(Job.id.in_(waiting))
        .values(state=JobState.CANCELLED, finished_at=now(), held_by=None, reason=f"{reason} (by {actor})")
        .execution_options(synchronize_session=False)
    )
    cancelled = changed(session.execute(statement))
    log.info("job.cancelled_waiting", jobs=cancelled, actor=actor)
    return cancelled


def bury(session: Session, ids: Sequence[uuid.UUID], *, reason: str, actor: str = "system") -> int:
    """Discard those of these jobs that are dead, and return how many; their domain rows the caller has dealt with."""
    if not ids:
        return 0
    dead = sa.select(Job.id).where(Job.id.in_(ids), Job.state == JobState.DEAD).order_by(Job.id).with_for_update()
    statement = (
        sa.update(Job)
        .where(Job.id.in_(dead))
        .values(state=JobState.CANCELLED, reason=f"{reason} (by {actor})")
        .execution_options(synchronize_session=False)
    )
    buried = changed(session.execute(statement))
    log.info("job.buried", jobs=buried, actor=actor)
    return buried


def retry(
    session: Session,
    job_id: uuid.UUID,
    *,
    actor: str,
    workspace_id: uuid.UUID | None = None,
    delay: timedelta = timedelta(0),
) -> Job:
    """Send a dead job back to its queue with all its attempts, at once or in a while; its history is kept.

    Raises:
        NotFound: no such job. Conflict: it is not dead.
    """
    # Unlocked: its domain row is locked first, by `follow`, and the job last.
    job = get(session, job_id, workspace_id=workspace_id)
    if job.state is not JobState.DEAD:
        raise Conflict(f"This job is {job.state}; only a dead job can be retried.", code="not_dead")
    registry.follow(session, job.task, JobState.QUEUED, None, job.args)
    if not _revive(session, job_id, actor, delay):
        raise Conflict("Somebody else has just dealt with this job.", code="not_dead")
    session.refresh(job)
    return job


def edit(
    session: Session,
    job_id: uuid.UUID,
    changes: Mapping[str, Any],
    *,
    actor: str,
    workspace_id: uuid.UUID | None = None,
) -> Job:
    """Give a dead job other arguments, of those that its task allows to change; it is not retried by that.

    Raises:
        NotFound: no such job. Conflict: it is not dead. Invalid: it must stay, or the value is of another kind.
    """
    job = get(session, job_id, workspace_id=workspace_id, lock=True)
    if job.state is not JobState.DEAD:
        raise Conflict(f"This job is {job.state}; only a dead job can be changed.", code="not_dead")
    if problems := [problem for name, value in changes.items() for problem in _unfit(job, name, value)]:
        raise Invalid(f"{job.task} cannot be changed like this.", code="bad_arguments", fields=problems)
    job.args = registry.bind(job.task, {**job.args, **changes})
    job.reason = f"{', '.join(sorted(changes))} changed (by {actor})"
    session.flush()
    log.info("job.edited", job_id=str(job_id), actor=actor, arguments=sorted(changes))
    return job


def _unfit(job: Job, name: str, value: Any) -> list[FieldError]:
    """Return what is wrong with a new value of an argument."""
    allowed = registry.editable(job.task)
    if name not in allowed:
        may = f"What may be changed is {', '.join(allowed)}." if allowed else "Nothing of this task may be changed."
        return [FieldError(name, may)]
    was = job.args.get(name)
    if was is not None and type(value) is not type(was):
        kind = {"list": "a list", "bool": "true or false", "int": "a number", "str": "a text"}.get(type(was).__name__)
        return [FieldError(name, f"Write {kind or 'a value like the one there was'}.")]
    return []


def discard(
    session: Session, job_id: uuid.UUID, *, actor: str, reason: str, workspace_id: uuid.UUID | None = None
) -> Job:
    """Decide that a dead job will never run: cancelled, with the reason.

    Raises:
        NotFound: no such job. Conflict: it is not dead. Invalid: no reason.
    """
    if not reason.strip():
        raise Invalid("Discarding needs a reason, so that others know why it never ran.", code="reason_missing")
    # Unlocked: its domain row is locked first, by `follow`, and the job last.
    job = get(session, job_id, workspace_id=workspace_id)
    if job.state is not JobState.DEAD:
        raise Conflict(f"This job is {job.state}; only a dead job can be discarded.", code="not_dead")
    registry.follow(session, job.task, JobState.CANCELLED, None, job.args)
    job = get(session, job_id, lock=True)
    if job.state is not JobState.DEAD:
        raise Conflict(f"This job has just become {job.state}.", code="not_dead")
    _end(session, job, actor, reason.strip())
    return job


def run_now(session: Session, job_id: uuid.UUID, *, actor: str, workspace_id: uuid.UUID | None = None) -> Job:
    """Make a delayed job due now.

    Raises:
        NotFound: no such job. Conflict: it does not wait.
    """
    job = get(session, job_id, workspace_id=workspace_id, lock=True)
    if job.state is not JobState.QUEUED:
        raise Conflict(f"This job is {job.state}; only one that waits can be brought forward.", code="not_queued")
    job.run_at = sa.func.least(Job.run_at, now())
    job.rung_at = sa.func.now()
    session.flush()
    session.refresh(job)
    ring_after_commit(session, [ring.Ring(job.id, job.task, job.queue, job.priority)])
    log.info("job.run_now", job_id=str(job_id), actor=actor)
    return job


def move(
    session: Session, job_id: uuid.UUID, run_at: datetime, *, actor: str, workspace_id: uuid.UUID | None = None
) -> Job:
    """Make a job that waits due at another moment.

    Raises:
        NotFound: no such job. Conflict: it does not wait.
    """
    job = get(session, job_id, workspace_id=workspace_id, lock=True)
    if job.state is not JobState.QUEUED:
        raise Conflict(f"This job is {job.state}; only one that waits can be moved.", code="not_queued")
    # Unrung: the scheduler rings it when it is due, be that at once.
    job.run_at, job.rung_at, job.rings = run_at, None, 0
    session.flush()
    log.info("job.moved", job_id=str(job_id), run_at=run_at.isoformat(), actor=actor)
    return job


def _revive(session: Session, job_id: uuid.UUID, actor: str, delay: timedelta) -> bool:
    """Let a dead job wait again. One for later is unrung: the scheduler rings it when it is due."""
    later = delay > timedelta(0)
    statement = (
        sa.update(Job)
        .where(Job.id == job_id, Job.state == JobState.DEAD)
        .values(
            state=JobState.QUEUED,
            attempt=0,
            crashes=0,
            revivals=Job.revivals + 1,
            run_at=now() + delay,
            rung_at=None if later else sa.func.now(),
            rings=0,
            finished_at=None,
            reason=f"rate: retried with others, at a chosen rate (by {actor})" if later else None,
        )
        .returning(Job.id, Job.task, Job.queue, Job.priority)
        .execution_options(synchronize_session=False)
    )
    revived = session.execute(statement).all()
    if not later:
        ring_after_commit(session, [ring.Ring(*row) for row in revived])
    log.info("job.revived", jobs=len(revived), actor=actor)
    return bool(revived)


def _end(session: Session, job: Job, actor: str, reason: str) -> None:
    moment: Any = now()
    job.state, job.finished_at, job.lease_until, job.held_by = JobState.CANCELLED, moment, None, None
    job.reason = f"{reason} (by {actor})"
    session.flush()
    session.refresh(job)
    log.info("job.cancelled", job_id=str(job.id), actor=actor)
