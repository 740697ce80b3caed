"""The dead letters: the dead rows of `jobs`, grouped by fingerprint. Nothing is copied, nothing can be lost between."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now, transaction
from crm_tasks.core.errors import Conflict, Invalid, NotFound
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import LIVE, Job, JobState

_BATCH = 500
# The highest rate, a minute, at which dead letters may go back.
FASTEST = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which dead letters are meant: every given condition must hold; none at all means all of them."""

    workspace_id: uuid.UUID | None = None
    fingerprint: str | None = None
    task: str | None = None
    queue: str | None = None
    ids: Sequence[uuid.UUID] = ()

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return them as SQL."""
        wanted: list[sa.ColumnElement[bool]] = [
            column == value
            for column in (Job.workspace_id, Job.fingerprint, Job.task, Job.queue)
            if (value := getattr(self, column.key)) is not None
        ]
        if self.ids:
            wanted.append(Job.id.in_(self.ids))
        return wanted


@dataclass(slots=True)
class Spread:
    """When each of many may go: the first at once, the others at so many a minute."""

    per_minute: int
    _given: int = 0

    def next(self) -> timedelta:
        """Return how long the next one has to wait."""
        self._given += 1
        return timedelta(minutes=(self._given - 1) / self.per_minute)


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one cause."""

    fingerprint: str
    jobs: int
    tasks: list[str]
    queues: list[str]
    first_at: datetime
    last_at: datetime
    error: dict
    example_id: uuid.UUID


def stats(session: Session, workspace_id: uuid.UUID | None = None) -> dict[str, int]:
    """Return how many wait for a person (dead), are being retried, died again after a retry, and came right."""
    mine = Which(workspace_id=workspace_id).conditions()
    dead = session.execute(
        sa.select(sa.func.count(), sa.func.count().filter(Job.revivals > 0)).where(_dead(), *mine)
    ).one()
    revived = dict(
        session.execute(
            sa.select(Job.state, sa.func.count())
            .where(Job.revivals > 0, Job.state.in_([*LIVE, JobState.SUCCEEDED]), *mine)
            .group_by(Job.state)
        ).all()
    )
    return {
        "waiting": dead[0],
        "active": sum(revived.get(state, 0) for state in LIVE),
        "failed": dead[1],
        "completed": revived.get(JobState.SUCCEEDED, 0),
    }


def groups(session: Session, which: Which = Which()) -> list[Group]:
    """Return one group per cause, the largest first."""
    query = (
        sa.select(
            sa.func.coalesce(Job.fingerprint, "").label("fingerprint"),
            sa.func.count().label("jobs"),
            sa.func.array_agg(sa.distinct(Job.task)).label("tasks"),
            sa.func.array_agg(sa.distinct(Job.queue)).label("queues"),
            sa.func.min(Job.finished_at).label("first_at"),
            sa.func.max(Job.finished_at).label("last_at"),
            sa.func.max(sa.cast(Job.id, sa.Text)).label("example"),
        )
        .where(_dead(), *which.conditions())
        .group_by(sa.text("1"))
        .order_by(sa.text("jobs DESC"), sa.text("1"))
    )
    found = session.execute(query).all()
    examples = _last_errors(session, [uuid.UUID(row.example) for row in found])
    return [
        Group(
            fingerprint=row.fingerprint,
            jobs=row.jobs,
            tasks=row.tasks,
            queues=row.queues,
            first_at=row.first_at,
            last_at=row.last_at,
            error=examples.get(uuid.UUID(row.example), {}),
            example_id=uuid.UUID(row.example),
        )
        for row in found
    ]


def listed(session: Session, which: Which = Which(), *, before: uuid.UUID | None = None, limit: int = 50) -> list[Job]:
    """Return dead letters, the newest first, from `before` on."""
    query = sa.select(Job).where(_dead(), *which.conditions()).order_by(Job.id.desc()).limit(limit)
    return list(session.scalars(query.where(Job.id < before) if before else query))


def oldest(session: Session, which: Which, count: int) -> list[uuid.UUID]:
    """Return the first of them: to try a few before all."""
    query = sa.select(Job.id).where(_dead(), *which.conditions()).order_by(Job.id).limit(count)
    return list(session.scalars(query))


def jobs(session: Session, workspace_id: uuid.UUID | None, ids: Sequence[uuid.UUID]) -> list[Job]:
    """Return jobs that were dead letters, whatever became of them."""
    which = Which(workspace_id=workspace_id, ids=ids)
    return list(session.scalars(sa.select(Job).where(*which.conditions()).order_by(Job.id))) if ids else []


def by_hour(session: Session, which: Which, hours: int = 24) -> list[tuple[datetime, int]]:
    """Return how many of them died in each of the last hours, also in those in which none did."""
    this_hour: datetime = session.scalar(sa.select(sa.func.date_trunc("hour", now(), "UTC")))  # type: ignore[assignment]
    first = this_hour - timedelta(hours=hours - 1)
    hour = sa.func.date_trunc("hour", Job.finished_at, "UTC")
    query = sa.select(hour, sa.func.count()).where(_dead(), Job.finished_at >= first, *which.conditions())
    found: dict[datetime, int] = dict(session.execute(query.group_by(sa.text("1"))).all())
    return [(at, found.get(at, 0)) for at in (first + timedelta(hours=n) for n in range(hours))]


def retry_batch(
    session: Session, which: Which, *, actor: str, after: uuid.UUID | None = None, spread: Spread | None = None
) -> list[uuid.UUID]:
    """Retry up to 500 of them, oldest first, and return their ids; the caller commits and asks until none come.

    `after` is the last id of the batch before: what dies again meanwhile is not retried once more, for ever. With a
    `spread`, the same for all batches, they go back one after the other.
    """
    at_once = timedelta(0)
    return _each(
        session,
        which,
        after,
        lambda job_id: repair.retry(session, job_id, actor=actor, delay=spread.next() if spread else at_once),
    )


def discard_batch(
    session: Session, which: Which, *, actor: str, reason: str, after: uuid.UUID | None = None
) -> list[uuid.UUID]:
    """Discard up to 500 of them with a reason, and return their ids; asked again until none come."""
    if not reason.strip():
        raise Invalid("Discarding needs a reason, so that others know why it never ran.", code="reason_missing")
    return _each(session, which, after, lambda job_id: repair.discard(session, job_id, actor=actor, reason=reason))


def in_batches(act: Callable[..., list[uuid.UUID]]) -> int:
    """Let `retry_batch` or `discard_batch` deal with all there are, a transaction a batch; return how many that were.

    Each once: what dies again meanwhile comes behind, and not around again for ever.
    """
    total, after = 0, None
    while True:
        with transaction() as session:
            done = act(session, after=after)
        if not done:
            return total
        total, after = total + len(done), done[-1]


def require_dead(session: Session, job_id: uuid.UUID, workspace_id: uuid.UUID | None = None) -> Job:
    """Return a dead letter.

    Raises:
        NotFound: no such job. Conflict: it is not dead.
    """
    job = repair.get(session, job_id, workspace_id=workspace_id)
    if job.state is not JobState.DEAD:
        raise Conflict(f"This job is {job.state}, not dead.", code="not_dead")
    return job


def _each(session: Session, which: Which, after: uuid.UUID | None, act: Callable[[uuid.UUID], Job]) -> list[uuid.UUID]:
    """Deal with a batch; what somebody else has just dealt with is left out."""
    while ids := _batch(session, which, after):
        done = []
        for job_id in ids:
            with suppress(Conflict, NotFound), session.begin_nested():
                act(job_id)
                done.append(job_id)
        if done:
            return done
        after = ids[-1]
    return []


def _batch(session: Session, which: Which, after: uuid.UUID | None) -> list[uuid.UUID]:
    query = sa.select(Job.id).where(_dead(), *which.conditions()).order_by(Job.id).limit(_BATCH)
    return list(session.scalars(query.where(Job.id > after) if after else query))


def _dead() -> sa.ColumnElement[bool]:
    return Job.state == sa.literal_column(f"'{JobState.DEAD}'")


def _last_errors(session: Session, ids: list[uuid.UUID]) -> dict[uuid.UUID, dict]:
    rows = session.execute(sa.select(Job.id, Job.errors[-1]).where(Job.id.in_(ids)))
    return {job_id: error or {} for job_id, error in rows}
