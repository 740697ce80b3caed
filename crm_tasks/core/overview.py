"""The queues at a glance: what waits, runs, failed and finished. Counted through small indexes and roll-ups only."""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import cache, holds, rollup
from crm_tasks.core.db import now
from crm_tasks.core.jobs.model import UNKNOWN_TASK, Job, JobMinute, JobState, Process, Watermark
from crm_tasks.core.queues import Queue

# Each part reads one partial index and nothing else, so a million finished jobs cost nothing here.
_LIVE = """
    SELECT queue, run_at <= crm_now() AS due, false AS held, count(*) AS jobs, min(run_at) AS oldest FROM jobs
        WHERE state = 'queued' AND rung_at IS NULL AND held_by IS NULL {mine} GROUP BY 1, 2
    UNION ALL
    SELECT queue, true, false, count(*), min(run_at) FROM jobs
        WHERE state = 'queued' AND rung_at IS NOT NULL {mine} GROUP BY 1
    UNION ALL
    SELECT queue, true, true, count(*), NULL FROM jobs
        WHERE state = 'queued' AND held_by IS NOT NULL {mine} GROUP BY 1
"""
_RUNNING = "SELECT queue, count(*) FROM jobs WHERE state = 'running' {mine} GROUP BY 1"
_DEAD = "SELECT queue, count(*) FROM jobs WHERE state = 'dead' {mine} GROUP BY 1"


@dataclass(slots=True)
class QueueRow:
    """One queue. Ages are seconds; `completed` counts all that succeeded within the history kept."""

    name: str
    waiting: int = 0
    delayed: int = 0
    held: int = 0
    active: int = 0
    failed: int = 0
    completed: int = 0
    is_paused: bool = False
    oldest_age: float | None = None
    target_age: float = 0.0

    @property
    def late(self) -> bool:
        """Whether the oldest waiting job is older than the queue's target."""
        return self.oldest_age is not None and self.oldest_age > self.target_age


def queues(session: Session, *, workspace_id: uuid.UUID | None = None) -> list[QueueRow]:
    """Return every queue with its counts; of one workspace without `completed`, which is counted for all together."""
    rows = {name: QueueRow(name, target_age=settings().queues[name].target_age) for name in map(str, Queue)}
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    for queue, due, held, jobs, oldest in _counted(session, _LIVE, workspace_id):
        _add_live(rows[queue], due=due, held=held, jobs=jobs, oldest=oldest, moment=moment)
    for queue, jobs in _counted(session, _RUNNING, workspace_id):
        rows[queue].active = jobs
    for queue, jobs in _counted(session, _DEAD, workspace_id):
        rows[queue].failed = jobs
    for queue, jobs in completed(session).items() if workspace_id is None else ():
        rows[queue].completed = jobs
    scopes = {hold.scope for hold in holds.listed(session)}
    for row in rows.values():
        row.is_paused = bool({"all", f"queue:{row.name}"} & scopes)
    return list(rows.values())


def queues_lately(session: Session, *, workspace_id: uuid.UUID | None = None) -> list[QueueRow]:
    """As `queues`; where very many jobs were counted, it may be what it was some seconds ago."""

    def load() -> list[dict[str, Any]]:
        return [asdict(row) for row in queues(session, workspace_id=workspace_id)]

    def size(rows: list[dict[str, Any]]) -> int:
        return sum(row[name] for row in rows for name in ("waiting", "delayed", "active", "failed"))

    return [QueueRow(**row) for row in cache.counted(f"queues:{workspace_id}", load, size)]


def _counted(session: Session, query: str, workspace_id: uuid.UUID | None) -> list[Any]:
    """Count for all, or for one workspace."""
    mine, values = (
        ("", {}) if workspace_id is None else ("AND workspace_id = :workspace_id", {"workspace_id": workspace_id})
    )
    return list(session.execute(sa.text(query.format(mine=mine)), values))


def _add_live(row: QueueRow, *, due: bool, held: bool, jobs: int, oldest: datetime | None, moment: datetime) -> None:
    if held:
        row.held += jobs
        row.waiting += jobs
    elif due:
        row.waiting += jobs
        if oldest is not None:
            row.oldest_age = max(row.oldest_age or 0.0, (moment - oldest).total_seconds())
    else:
        row.delayed += jobs


def completed(session: Session) -> dict[str, int]:
    """Return how many jobs of each queue succeeded within the history kept."""
    totals: dict[str, int] = defaultdict(int)
    rolled = sa.select(JobMinute.queue, sa.func.sum(JobMinute.jobs)).where(JobMinute.state == JobState.SUCCEEDED)
    for queue, jobs in session.execute(rolled.group_by(JobMinute.queue)):
        totals[queue] += jobs
    for (_, queue, state), (run, _) in _tail(session).items():
        if state == JobState.SUCCEEDED:
            totals[queue] += sum(run)
    return totals


@dataclass(frozen=True, slots=True)
class QueueMetrics:
    """How one queue did over a while: jobs per minute, and times in milliseconds."""

    name: str
    finished: int
    failed: int
    per_minute: float
    run_p50: float | None
    run_p95: float | None
    wait_p50: float | None
    wait_p95: float | None
    oldest_age: float | None


def metrics(session: Session, *, minutes: int = 15, ages: bool = True) -> list[QueueMetrics]:
    """Return how the queues did over the last minutes; how old the oldest waiting job is, if `ages` are asked for."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    since = moment - timedelta(minutes=minutes)
    found: dict[str, list[tuple[str, list[int], list[int]]]] = defaultdict(list)
    query = sa.select(JobMinute).where(JobMinute.minute >= since)
    for row in session.scalars(query):
        found[row.queue].append((row.state, row.run, row.wait))
    for (minute, queue, state), (run, wait) in _tail(session).items():
        if minute >= since:
            found[queue].append((state, run, wait))
    oldest = {row.name: row.oldest_age for row in queues(session)} if ages else {}
    return [_measured(str(queue), found[queue], minutes, oldest.get(queue)) for queue in Queue]


def _measured(
    name: str, parts: list[tuple[str, list[int], list[int]]], minutes: int, oldest: float | None
) -> QueueMetrics:
    run = rollup.added(part[1] for part in parts)
    wait = rollup.added(part[2] for part in parts)
    failed = sum(sum(part[1]) for part in parts if part[0] == JobState.DEAD)
    return QueueMetrics(
        name=name,
        finished=sum(run),
        failed=failed,
        per_minute=round(sum(run) / minutes, 2),
        run_p50=rollup.percentile(run, 0.5),
        run_p95=rollup.percentile(run, 0.95),
        wait_p50=rollup.percentile(wait, 0.5),
        wait_p95=rollup.percentile(wait, 0.95),
        oldest_age=oldest,
    )


@dataclass(frozen=True, slots=True)
class Minute:
    """What finished in one minute: how many by state, and how long they ran and waited, in milliseconds."""

    at: datetime
    succeeded: int
    dead: int
    cancelled: int
    run_p50: float | None
    run_p95: float | None
    wait_p95: float | None


def minutes(session: Session, *, last: int = 60, queue: str | None = None) -> list[Minute]:
    """Return the last minutes one by one, the oldest first: of a queue, or of all together."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    first = moment.replace(second=0, microsecond=0) - timedelta(minutes=last - 1)
    found: dict[datetime, list[tuple[str, list[int], list[int]]]] = defaultdict(list)
    query = sa.select(JobMinute).where(JobMinute.minute >= first)
    for row in session.scalars(query.where(JobMinute.queue == queue) if queue else query):
        found[row.minute].append((row.state, row.run, row.wait))
    for (minute, name, state), (run, wait) in _tail(session).items():
        if queue in (None, name):
            found[minute].append((state, run, wait))
    return [_minute(at, found[at]) for at in (first + timedelta(minutes=each) for each in range(last))]


def _minute(at: datetime, parts: list[tuple[str, list[int], list[int]]]) -> Minute:
    ended = {state: sum(sum(run) for name, run, _ in parts if name == state) for state in _ENDED}
    run, wait = rollup.added(part[1] for part in parts), rollup.added(part[2] for part in parts)
    times = [rollup.percentile(run, 0.5), rollup.percentile(run, 0.95), rollup.percentile(wait, 0.95)]
    return Minute(at, *(ended[state] for state in _ENDED), *times)


def statistics(session: Session, *, days: int = 7) -> list[dict[str, Any]]:
    """Return how many jobs ended in each state, per queue and day (UTC), the newest day first."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    since = (moment - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    day = sa.func.date_trunc("day", JobMinute.minute, "UTC")
    query = (
        sa.select(day, JobMinute.queue, JobMinute.state, sa.func.sum(JobMinute.jobs))
        .where(JobMinute.minute >= since)
        .group_by(sa.text("1, 2, 3"))
    )
    totals: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for start, queue, state, jobs in session.execute(query):
        totals[start.date().isoformat(), queue][state] += jobs
    for (minute, queue, state), (run, _) in _tail(session).items():
        if minute >= since:
            totals[minute.date().isoformat(), queue][state] += sum(run)
    return [
        {"day": day_, "queue": queue, **{state: states.get(state, 0) for state in _ENDED}}
        for (day_, queue), states in sorted(totals.items(), key=lambda item: (-_ordinal(item[0][0]), item[0][1]))
    ]


_ENDED = (JobState.SUCCEEDED.value, JobState.DEAD.value, JobState.CANCELLED.value)


def _ordinal(day: str) -> int:
    return datetime.fromisoformat(day).toordinal()


def _tail(session: Session) -> dict[tuple[datetime, str, str], tuple[list[int], list[int]]]:
    """Return what has finished since the last roll-up: two minutes' worth, as a rule."""
    return rollup.histograms(session, rollup.watermark(session))


# --- processes ---------------------------------------------------------------------------------------------------


def processes(session: Session) -> list[Process]:
    """Return the processes that live: seen within a lease, and not stopped."""
    query = sa.select(Process).where(
        Process.stopped_at.is_(None), Process.seen_at > sa.func.now() - settings().lease, Process.kind != "child"
    )
    return list(session.scalars(query.order_by(Process.kind, Process.name)))


def scheduler_age(session: Session) -> float | None:
    """Return how many seconds ago any scheduler last ticked; None if none ever did."""
    at = session.scalar(sa.select(Watermark.at).where(Watermark.name == "scheduler"))
    if at is None:
        return None
    moment: datetime = session.scalar(sa.select(sa.func.clock_timestamp()))  # type: ignore[assignment]
    return max(0.0, (moment - at).total_seconds())


def with_counters(session: Session) -> list[Process]:
    """Return every process of the last hours, for its counters; one that ended still has counted."""
    query = sa.select(Process).where(Process.seen_at > sa.func.now() - timedelta(hours=6)).order_by(Process.id)
    return list(session.scalars(query))


def unknown_tasks(session: Session) -> dict[str, int]:
    """Return the tasks that no worker knew, with how many jobs wait for one that does."""
    query = sa.select(Job.task, sa.func.count().label("jobs"))
    query = query.where(Job.state == JobState.QUEUED, Job.held_by == UNKNOWN_TASK)
    return {row.task: row.jobs for row in session.execute(query.group_by(Job.task))}


def listed(
    session: Session,
    *,
    workspace_id: uuid.UUID | None = None,
    states: Iterable[JobState] = (),
    queue: str | None = None,
    task: str | None = None,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[Job]:
    """Return jobs, the newest first."""
    query = sa.select(Job).order_by(Job.id.desc()).limit(limit)
    for column, value in ((Job.workspace_id, workspace_id), (Job.queue, queue), (Job.task, task)):
        if value is not None:
            query = query.where(column == value)
    if wanted := list(states):
        query = query.where(Job.state.in_(wanted))
    if before is not None:
        query = query.where(Job.id < before)
    return list(session.scalars(query))
