"""Why a job waits: every reason there is, the one to deal with first in front; its place, and when it may start."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import rollup
from crm_tasks.core.db import now
from crm_tasks.core.jobs.model import HOLDING, QUEUED_HALVES, UNKNOWN_TASK, Job, JobMinute, JobState, Process

# How fast a queue moves is seen in what it got through lately.
_LATELY = timedelta(minutes=10)
_ALIVE = timedelta(seconds=60)


_HOLDS = sa.text(f"""
    SELECT h.id, h.scope, h.reason, h.actor, h.expires_at
    FROM jobs j CROSS JOIN LATERAL (SELECT h.* {HOLDING.format("j")}) h WHERE j.id = :id ORDER BY h.id
""")  # noqa: S608  only the name of an alias is formatted in


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason to wait: the gate, what it says, until when, who set it, what to do."""

    gate: str
    text: str
    set_by: str = "system"
    until: datetime | None = None
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for an answer."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Place:
    """How many jobs of its queue are before a job, and when it may start at the pace of the best minute lately."""

    ahead: int
    predicted_start: datetime | None


def reasons(session: Session, job: Job) -> list[Reason]:
    """Return why a job is not running, the first to deal with in front; none if it is over or running."""
    if job.state is not JobState.QUEUED:
        return []
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    found = [*_holds(session, job), *_delay(job, moment), *_serial(session, job, moment)]
    return [*found, *_workers(session, job), *_cap(session, job)]


def obstacles(session: Session, job: Job) -> list[Reason]:
    """Return what would keep a job waiting if it went to its queue now."""
    return [*_holds(session, job), *_workers(session, job), *_cap(session, job)]


def place(session: Session, job: Job) -> Place | None:
    """Return the place of a job that is queued; one that is delayed starts no sooner than it is due."""
    if job.state is not JobState.QUEUED:
        return None
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    before = sa.tuple_(Job.priority, Job.run_at, Job.id) < sa.tuple_(
        sa.literal(job.priority), sa.literal(job.run_at), sa.literal(job.id)
    )
    waiting = sa.select(sa.func.count()).where(Job.queue == job.queue, Job.run_at <= max(moment, job.run_at), before)
    ahead = sum(session.scalars(waiting.where(half)).one() for half in QUEUED_HALVES)
    if job.held_by is not None:
        return Place(ahead, None)
    due = max(moment, job.run_at)
    if not ahead:
        return Place(0, due)
    per_second = _best_minute(session, job.queue, moment) / 60
    return Place(ahead, max(due, moment + timedelta(seconds=ahead / per_second)) if per_second else None)


def _best_minute(session: Session, queue: str, moment: datetime) -> int:
    """Return how many jobs a queue got through in the best of the last minutes: in others it may have had no work."""
    through, since = (JobState.SUCCEEDED, JobState.DEAD), moment - _LATELY
    rolled = sa.select(JobMinute.minute, sa.func.sum(JobMinute.jobs)).where(
        JobMinute.queue == queue, JobMinute.minute > since, JobMinute.state.in_(through)
    )
    minute = sa.func.date_trunc("minute", Job.finished_at).label("minute")
    tail = sa.select(minute, sa.func.count()).where(
        Job.finished_at >= max(since, rollup.watermark(session)), Job.queue == queue, Job.state.in_(through)
    )
    found = [*session.execute(rolled.group_by(JobMinute.minute)), *session.execute(tail.group_by(sa.text("1")))]
    return max((int(jobs) for _, jobs in found), default=0)


def _holds(session: Session, job: Job) -> list[Reason]:
    rows = session.execute(_HOLDS, {"id": job.id})
    found = [
        Reason("hold", f"{row.scope} is held: {row.reason}", row.actor, row.expires_at, f"`crm hold release {row.id}`")
        for row in rows
    ]
    if job.held_by == UNKNOWN_TASK:
        found.append(
            Reason("unknown_task", f"no running worker knows {job.task}", remedy="start a worker of this version")
        )
    return found


def _delay(job: Job, moment: datetime) -> list[Reason]:
    if job.run_at <= moment:
        return []
    remedy = f"wait, or `crm job run-now {job.id}`"
    if job.reason:
        gate, _, text = job.reason.partition(": ")
        return [Reason(gate, text, until=job.run_at, remedy=remedy)]
    if job.errors and job.attempt:
        last = job.errors[-1]
        text = f"attempt {job.attempt} of {job.max_attempts} failed: {last.get('message') or last.get('class')}"
        return [Reason("retry", text, until=job.run_at, remedy=remedy)]
    return [Reason("scheduled", "it was asked for at this time", "the request", job.run_at, remedy)]


def _serial(session: Session, job: Job, moment: datetime) -> list[Reason]:
    if job.serial_key is None:
        return []
    query = sa.select(Job.id).where(
        Job.serial_key == job.serial_key,
        sa.or_(
            Job.state == sa.literal_column("'running'"),
            sa.and_(
                Job.state == sa.literal_column("'queued'"),
                Job.id < job.id,
                Job.run_at <= moment,
                Job.held_by.is_(None),
            ),
        ),
    )
    first = session.scalar(query.order_by(Job.id).limit(1))
    return [Reason("serial", f"job {first} of {job.serial_key} goes first")] if first else []


def _workers(session: Session, job: Job) -> list[Reason]:
    query = sa.select(Process.id).where(
        Process.kind.in_(("worker", "child")),
        Process.stopped_at.is_(None),
        Process.seen_at > sa.func.now() - _ALIVE,
        sa.literal(job.queue) == sa.any_(Process.queues),
    )
    if session.scalar(query.limit(1)) is not None:
        return []
    start = f"start one: celery -A crm_tasks worker -Q {job.queue}"
    return [Reason("no_worker", f"no worker takes the queue {job.queue}", remedy=start)]


def _cap(session: Session, job: Job) -> list[Reason]:
    cap = settings().queues[job.queue].concurrency
    if cap is None:
        return []
    running = session.scalar(
        sa.select(sa.func.count()).where(Job.queue == job.queue, Job.state == sa.literal_column("'running'"))
    )
    if (running or 0) < cap:
        return []
    variable = f"QUEUE_{job.queue.upper()}_CONCURRENCY"
    return [Reason("queue_concurrency", f"{running} of {cap} run already", variable)]
