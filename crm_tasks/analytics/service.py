"""Housekeeping: what is old enough goes, in batches so small that nobody waits for them."""

from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import partitions, rollup
from crm_tasks.core.db import changed, now
from crm_tasks.core.idempotency import IdempotencyKey
from crm_tasks.core.jobs.model import Job, JobMinute, JobState, Process
from crm_tasks.core.queues import Queue
from crm_tasks.core.types import id_floor

BATCH = 5_000
KEYS_LIVE = timedelta(days=7)
PROCESSES_LIVE = timedelta(days=2)
# Succeeded and cancelled jobs go; a dead one stays until a person decides.
_OVER = (JobState.SUCCEEDED, JobState.CANCELLED)


def chores() -> dict[str, Callable[[Session], int]]:
    """Return the clean-ups by name; each removes one batch and says how many rows that was, until none is left."""
    made: dict[str, Callable[[Session], int]] = {f"jobs of {queue}": _jobs_of(queue) for queue in Queue}
    return made | {
        "jobs with their own time": _kept_jobs,
        "idempotency keys": _old_keys,
        "minutes of old days": rollup.fold_day,
        "old days": _old_days,
        "processes": _old_processes,
        "partitions": _old_parts,
    }


def _moment(session: Session) -> datetime:
    return session.scalar(sa.select(now()))  # type: ignore[return-value]


def _jobs_of(queue: Queue) -> Callable[[Session], int]:
    def clean(session: Session) -> int:
        before = _moment(session) - timedelta(days=settings().queues[queue].keep_days)
        old = sa.and_(
            Job.id < id_floor(before),
            Job.queue == queue,
            Job.state.in_(_OVER),
            Job.finished_at < before,
            Job.keep.is_(None),
        )
        return _delete(session, old)

    return clean


def _kept_jobs(session: Session) -> int:
    return _delete(session, sa.and_(Job.keep.is_not(None), Job.state.in_(_OVER), Job.finished_at + Job.keep < now()))


def _delete(session: Session, condition: sa.ColumnElement[bool]) -> int:
    batch = sa.select(Job.id).where(condition).order_by(Job.id).limit(BATCH)
    return changed(session.execute(sa.delete(Job).where(Job.id.in_(batch))))


def _old_keys(session: Session) -> int:
    batch = (
        sa.select(IdempotencyKey.workspace_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < _moment(session) - KEYS_LIVE)
        .limit(BATCH)
    )
    key = sa.tuple_(IdempotencyKey.workspace_id, IdempotencyKey.key)
    return changed(session.execute(sa.delete(IdempotencyKey).where(key.in_(batch))))


def _old_days(session: Session) -> int:
    before = _moment(session) - timedelta(days=settings().history_days)
    return changed(session.execute(sa.delete(JobMinute).where(JobMinute.minute < before)))


def _old_processes(session: Session) -> int:
    statement = sa.delete(Process).where(Process.seen_at < sa.func.now() - PROCESSES_LIVE)
    return changed(session.execute(statement))


def _old_parts(session: Session) -> int:
    moment = _moment(session)
    partitions.ensure(session, moment)
    partitions.drop_older(session, "inbound_events", moment - timedelta(days=settings().raw_event_days))
    partitions.drop_older(session, "status_events", moment - timedelta(days=settings().history_days))
    return 0
