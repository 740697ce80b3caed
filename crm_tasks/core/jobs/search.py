"""Jobs found by what is known of them. No index knows all of that, so a search reads so many of the newest jobs and so
long, and says up to where: however many jobs there are, a page of it is quick.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.jobs.model import Job, JobState

# So many are read at once, and no more are begun after so many seconds.
AT_ONCE, LONGEST = 10_000, 0.1
# What is in an index of its own, which is small.
_ALIVE = (JobState.QUEUED, JobState.RUNNING, JobState.DEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs: every given condition must hold.

    Args:
        ids: it is one of these.
        error: a fingerprint, the code of an error, or (with `words`) a part of what one says.
    """

    workspace_id: uuid.UUID | None = None
    state: JobState | None = None
    queue: str | None = None
    task: str | None = None
    ids: Sequence[uuid.UUID] | None = None
    error: str | None = None
    words: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, the newest first, and behind which job to go on; None if there are no more."""

    jobs: list[Job]
    more: uuid.UUID | None


def search(session: Session, wanted: Wanted, *, before: uuid.UUID | None = None, limit: int = 50) -> Found:
    """Return jobs; maybe none, and yet more to look through."""
    conditions = _conditions(wanted)
    if wanted.ids is not None or wanted.state in _ALIVE or not conditions:
        query = sa.select(Job).where(*conditions).order_by(Job.id.desc()).limit(limit + 1)
        jobs = list(session.scalars(query.where(Job.id < before) if before else query))
        return _page(jobs, limit)
    return _through(session, conditions, before, limit)


def _through(session: Session, conditions: list[sa.ColumnElement[bool]], before: uuid.UUID | None, limit: int) -> Found:
    """Read the newest, some thousand at a time, until a page is full or it was long enough."""
    end, jobs = time.monotonic() + LONGEST, list[Job]()
    while True:
        newest = sa.select(Job.id).order_by(Job.id.desc()).limit(AT_ONCE)
        ids = (newest.where(Job.id < before) if before else newest).subquery()
        last, count = session.execute(sa.select(sa.func.min(sa.cast(ids.c.id, sa.Text)), sa.func.count())).one()
        if not count:
            return _page(jobs, limit)
        floor = uuid.UUID(last)
        here = [*conditions, Job.id >= floor, *([Job.id < before] if before else [])]
        query = sa.select(Job).where(*here).order_by(Job.id.desc()).limit(limit + 1 - len(jobs))
        jobs += session.scalars(query)
        if len(jobs) > limit or count < AT_ONCE:
            return _page(jobs, limit)
        before = floor
        if time.monotonic() > end:
            return Found(jobs, floor)


def _page(jobs: list[Job], limit: int) -> Found:
    return Found(jobs[:limit], jobs[limit - 1].id if len(jobs) > limit else None)


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = [
        column == value
        for column in (Job.workspace_id, Job.queue, Job.task)
        if (value := getattr(wanted, column.key)) is not None
    ]
    if wanted.state is not None:
        # Literally, so that the planner sees the index that is of this state alone.
        found.append(Job.state == sa.literal_column(f"'{wanted.state}'"))
    if wanted.ids is not None:
        found.append(Job.id.in_(wanted.ids))
    if wanted.error:
        found.append(_failed_so(wanted.error, words=wanted.words))
    return found


def _failed_so(error: str, *, words: bool) -> sa.ColumnElement[bool]:
    ways = [Job.fingerprint == error, Job.errors.contains([{"code": error}]), Job.errors.contains([{"class": error}])]
    if words:
        ways.append(sa.cast(Job.errors, sa.Text).icontains(error, autoescape=True))
    return sa.and_(Job.errors != sa.literal_column("'[]'::jsonb"), sa.or_(*ways))
