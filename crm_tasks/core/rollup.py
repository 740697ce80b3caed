"""Roll-ups: what finished, minute by minute and queue by queue, so that no page ever counts the jobs themselves.

A minute is rolled up once it is over for good (no transaction lives for 30 s); the two youngest are counted live. The
minutes of a day become one row, at its first minute, when nobody asks for minutes of it any more.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.jobs.model import Job, JobMinute, Watermark

NAME = "job_minutes"
SETTLED = timedelta(seconds=60)
# Upper bounds of the histogram in milliseconds; the last bucket holds everything above.
BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 300_000, 3_600_000)
_AT_ONCE = timedelta(minutes=30)
MINUTES_LIVE = timedelta(days=2)
_DAY = sa.func.date_trunc("day", JobMinute.minute, "UTC")


def roll_up(session: Session) -> bool:
    """Roll up settled minutes, half an hour's at most; True if there are more. One scheduler at a time does it."""
    if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(sa.func.hashtext(NAME)))):
        return False
    start = watermark(session)
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    end = (moment - SETTLED).replace(second=0, microsecond=0)
    if end <= start:
        return False
    until = min(end, start + _AT_ONCE)
    rows = [
        {"minute": minute, "queue": queue, "state": state, "jobs": sum(run), "run": run, "wait": wait}
        for (minute, queue, state), (run, wait) in histograms(session, start, until).items()
    ]
    if rows:
        session.execute(insert(JobMinute).on_conflict_do_nothing(), rows)
    session.execute(sa.update(Watermark).where(Watermark.name == NAME).values(at=until))
    return until < end


def fold_day(session: Session) -> int:
    """Add up the minutes of the oldest day (UTC) that is long over; return how many rows that made one per state."""
    day = session.scalar(sa.select(sa.func.min(_DAY)).where(is_over(session)))
    if day is None:
        return 0
    that_day = sa.and_(JobMinute.minute >= day, JobMinute.minute < day + timedelta(days=1))
    columns = (JobMinute.queue, JobMinute.state, JobMinute.jobs, JobMinute.run, JobMinute.wait)
    minutes = session.execute(sa.delete(JobMinute).where(that_day).returning(*columns)).all()
    kinds: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in minutes:
        kinds[row.queue, row.state].append(row)
    session.execute(insert(JobMinute), [_folded(day, *kind, rows) for kind, rows in kinds.items()])
    return len(minutes)


def is_over(session: Session) -> sa.ColumnElement[bool]:
    """Return the condition that a minute is of a day long over, and not folded yet."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    return sa.and_(_DAY + timedelta(days=1) < moment - MINUTES_LIVE, JobMinute.minute != _DAY)


def _folded(day: datetime, queue: str, state: str, rows: Sequence[Any]) -> dict[str, Any]:
    run, wait = added(row.run for row in rows), added(row.wait for row in rows)
    return {"minute": day, "queue": queue, "state": state, "jobs": sum(run), "run": run, "wait": wait}


def watermark(session: Session) -> datetime:
    """Return up to which moment the minutes are rolled up."""
    at = session.scalar(sa.select(Watermark.at).where(Watermark.name == NAME))
    if at is not None:
        return at
    first = session.scalar(
        sa.select(sa.func.date_trunc("minute", sa.func.coalesce(sa.func.min(Job.finished_at), now())))
    )
    session.execute(insert(Watermark).values(name=NAME, at=first).on_conflict_do_nothing())
    return first  # type: ignore[return-value]


def histograms(
    session: Session, start: datetime, end: datetime | None = None
) -> dict[tuple[datetime, str, str], tuple[list[int], list[int]]]:
    """Return (run, wait) histograms of the jobs that finished from `start` on, by minute, queue and state."""
    bounds = sa.literal(list(BOUNDS), sa.ARRAY(sa.Float))
    run = sa.func.extract("epoch", Job.finished_at - Job.started_at) * 1000
    wait = sa.func.extract("epoch", Job.started_at - sa.func.greatest(Job.run_at, Job.created_at)) * 1000
    minute = sa.func.date_trunc("minute", Job.finished_at)
    query = (
        sa.select(
            minute.label("minute"),
            Job.queue,
            Job.state,
            sa.func.width_bucket(sa.func.coalesce(run, 0), bounds).label("run"),
            sa.func.width_bucket(sa.func.coalesce(wait, 0), bounds).label("wait"),
            sa.func.count().label("jobs"),
        )
        .where(Job.finished_at >= start)
        .group_by(sa.text("1, 2, 3, 4, 5"))
    )
    if end is not None:
        query = query.where(Job.finished_at < end)
    return _fold(session.execute(query))


def percentile(histogram: Sequence[int], share: float) -> float | None:
    """Return the value in milliseconds below which `share` of a histogram lies, interpolated; None if it is empty."""
    total = sum(histogram)
    if not total:
        return None
    wanted, seen = share * total, 0
    for bucket, count in enumerate(histogram):
        if seen + count >= wanted:
            low = BOUNDS[bucket - 1] if bucket else 0
            high = BOUNDS[bucket] if bucket < len(BOUNDS) else BOUNDS[-1]
            return round(low + (high - low) * (wanted - seen) / count, 1)
        seen += count
    return float(BOUNDS[-1])


def empty() -> list[int]:
    """Return a histogram of nothing."""
    return [0] * (len(BOUNDS) + 1)


def added(histograms_: Iterable[Sequence[int]]) -> list[int]:
    """Return the sum of histograms."""
    total = empty()
    for histogram in histograms_:
        for bucket, count in enumerate(histogram):
            total[bucket] += count
    return total


def _fold(rows: Iterable[Any]) -> dict[tuple[datetime, str, str], tuple[list[int], list[int]]]:
    folded: dict[tuple[datetime, str, str], tuple[list[int], list[int]]] = defaultdict(lambda: (empty(), empty()))
    for row in rows:
        run, wait = folded[row.minute, row.queue, row.state]
        run[row.run] += row.jobs
        wait[row.wait] += row.jobs
    return dict(folded)
