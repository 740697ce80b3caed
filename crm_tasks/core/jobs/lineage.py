"""What a job came from and what came of it: the jobs of its trace as a tree."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.jobs.model import Job

_MOST, _DEEPEST = 100, 20


@dataclass(frozen=True, slots=True)
class Branch:
    """A job in its tree; the root has depth 0."""

    depth: int
    job: Job


def tree(session: Session, job: Job) -> list[Branch]:
    """Return the tree that a job stands in, each parent before its children; of a large one its first hundred."""
    found = {each.id: each for each in (*_parents(session, job), job, *_of_trace(session, job))}
    children: dict[uuid.UUID | None, list[Job]] = {}
    for each in sorted(found.values(), key=lambda one: one.id):
        children.setdefault(each.parent_id if each.parent_id in found else None, []).append(each)
    return list(_branches(children, None, 0))


def _branches(children: dict[uuid.UUID | None, list[Job]], parent: uuid.UUID | None, depth: int) -> Iterator[Branch]:
    for each in children.get(parent, ()):
        yield Branch(depth, each)
        if depth < _DEEPEST:
            yield from _branches(children, each.id, depth + 1)


def _parents(session: Session, job: Job) -> Iterator[Job]:
    at: Job | None = job
    for _ in range(_DEEPEST):
        at = session.get(Job, at.parent_id) if at is not None and at.parent_id else None
        if at is None or not _together(at, job):
            return
        yield at


def _of_trace(session: Session, job: Job) -> Iterator[Job]:
    if job.trace_id is None:
        return
    query = sa.select(Job).where(Job.trace_id == job.trace_id).order_by(Job.id).limit(_MOST)
    yield from (each for each in session.scalars(query) if _together(each, job))


def _together(one: Job, other: Job) -> bool:
    """Say whether whoever sees the one may see the other: a webhook request may be about several workspaces."""
    return one.workspace_id in (None, other.workspace_id)
