"""The way into the ledger: a job is a row in the caller's transaction; its ring is heard only after the commit.

A rolled back transaction (or savepoint) leaves no job and rings nobody.
"""

import uuid
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.db import driver, dumps
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs import registry, ring
from crm_tasks.core.jobs.model import HOLDING
from crm_tasks.core.queues import queue_of
from crm_tasks.core.types import new_id

# What enqueues inherit from the job or request at hand: its id as parent, and the trace of the request behind it all.
current_parent: ContextVar[uuid.UUID | None] = ContextVar("current_parent", default=None)
current_trace: ContextVar[uuid.UUID | None] = ContextVar("current_trace", default=None)

# A burst rings at most so many at once; the scheduler rings the rest as they are taken, each workspace in its turn.
RING_AT_ONCE = ring.BACKLOG
_INSERT_AT_ONCE = 5_000


# DO UPDATE and not DO NOTHING: the claim of the job in the way waits for this commit, and so sees what caused it.
_INSERT = f"""
    INSERT INTO jobs (id, task, queue, args, workspace_id, scopes, priority, max_attempts, unique_key, key_was,
                      serial_key, parent_id, trace_id, keep, run_at, held_by, rung_at)
    SELECT given.id, given.task, given.queue, given.args, given.workspace_id, given.scopes, given.priority,
           given.max_attempts, given.unique_key, given.unique_key, given.serial_key, given.parent_id, given.trace_id,
           given.keep, coalesce(given.run_at, crm_now()), held.by,
           CASE WHEN given.may_ring AND held.by IS NULL AND coalesce(given.run_at, crm_now()) <= crm_now()
                THEN now() END
    FROM jsonb_to_recordset(cast(%(rows)s AS jsonb)) AS given (
            id uuid, task text, queue text, args jsonb, workspace_id uuid, scopes text[], priority smallint,
            max_attempts smallint, unique_key text, serial_key text, parent_id uuid, trace_id uuid, keep interval,
            run_at timestamptz, may_ring boolean, position int)
    CROSS JOIN (SELECT EXISTS (SELECT FROM holds WHERE released_at IS NULL) AS any) AS holding
    LEFT JOIN LATERAL (SELECT h.id::text AS by {HOLDING.format("given")} AND holding.any LIMIT 1) AS held ON true
    ORDER BY given.position
    ON CONFLICT (unique_key) WHERE state = 'queued' AND unique_key IS NOT NULL DO UPDATE SET
        run_at = least(jobs.run_at, excluded.run_at),
        rung_at = CASE WHEN excluded.run_at < jobs.run_at THEN excluded.rung_at ELSE jobs.rung_at END,
        priority = least(jobs.priority, excluded.priority)
    RETURNING id, unique_key, task, queue, priority, rung_at = now() AS ring
"""  # noqa: S608  only the name of an alias is formatted in


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """One job to enqueue; see `enqueue` for the meaning of each field."""

    task: str
    args: Mapping[str, Any]
    workspace_id: uuid.UUID | None = None
    scopes: Iterable[str] = ()
    run_at: datetime | None = None
    priority: int = 5
    max_attempts: int | None = None
    keep: timedelta | None = None
    unique_key: str | None = None
    serial_key: str | None = None
    parent: uuid.UUID | None = None
    trace: uuid.UUID | None = None


def enqueue(
    session: Session,
    task: str,
    *,
    args: Mapping[str, Any],
    workspace_id: uuid.UUID | None = None,
    scopes: Iterable[str] = (),
    run_at: datetime | None = None,
    priority: int = 5,
    max_attempts: int | None = None,
    keep: timedelta | None = None,
    unique_key: str | None = None,
    serial_key: str | None = None,
    parent: uuid.UUID | None = None,
    trace: uuid.UUID | None = None,
) -> uuid.UUID:
    """Accept one job in the caller's transaction and return its id (= its Celery task id).

    Args:
        session: the caller's; the job exists when and only when it commits.
        task: `room.verb`; the prefix is its queue.
        args: ids only, by name.
        workspace_id: the tenant it works for; a hold of `workspace:…` stops it.
        scopes: what else can hold it, such as `channel:…`.
        run_at: not before this moment; none is now.
        priority: 1 (first) to 10 (last).
        max_attempts: overrides the queue's.
        keep: how long the row stays after success; none is the queue's.
        unique_key: at most one queued job has it. If there is one, its id is returned, and it runs at the
            earlier of the two moments; a job that already runs is not it, as it may have read its input.
        serial_key: jobs with the same one run one at a time, in the order they were enqueued.
        parent: the job that caused it; the current one by default.
        trace: the request that caused it all; the current one by default.

    Raises:
        UnknownTask, BadArguments, Invalid: here and now rather than in a worker.
    """
    job = NewJob(
        task=task,
        args=args,
        workspace_id=workspace_id,
        scopes=scopes,
        run_at=run_at,
        priority=priority,
        max_attempts=max_attempts,
        keep=keep,
        unique_key=unique_key,
        serial_key=serial_key,
        parent=parent,
        trace=trace,
    )
    return enqueue_many(session, [job])[0]


def enqueue_many(session: Session, jobs: Iterable[NewJob]) -> list[uuid.UUID]:
    """Accept many jobs with one statement (per 5,000) and one batched ring; return their ids in order."""
    rows = [_row(job) for job in jobs]
    single = _one_per_key(rows)
    holder: dict[str, uuid.UUID] = {}
    connection = driver(session)
    for start in range(0, len(single), _INSERT_AT_ONCE):
        chunk = _numbered(single[start : start + _INSERT_AT_ONCE], room_to_ring=RING_AT_ONCE - start)
        answers = connection.execute(_INSERT, {"rows": dumps(chunk)}).fetchall()
        ring_after_commit(session, _rings(answers))
        holder |= {answer[1]: answer[0] for answer in answers if answer[1]}
    metrics.count("enqueued", len(single))
    return [holder.get(row["unique_key"], row["id"]) for row in rows]


def enqueue_with(connection: psycopg.Connection, first: str, values: Mapping[str, Any], job: NewJob) -> None:
    """Do something and accept the job for it in one statement, which commits by itself: one round trip for both.

    Args:
        connection: in autocommit.
        first: common table expressions, such as `stored AS (INSERT …)`, with placeholders for `values`.
    """
    rows = _numbered([_row(job)], room_to_ring=1)
    answers = connection.execute(f"WITH {first} {_INSERT}", {**values, "rows": dumps(rows)}).fetchall()
    metrics.count("enqueued")
    ring.soon(_rings(answers))


def _one_per_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Coalesce rows of one call that share a unique_key, as `_INSERT` does: the earliest moment, the best priority."""
    first: dict[str, dict[str, Any]] = {}
    kept = []
    for row in rows:
        twin = first.setdefault(row["unique_key"], row) if row["unique_key"] else row
        if twin is row:
            kept.append(row)
            continue
        twin["priority"] = min(twin["priority"], row["priority"])
        if twin["run_at"] is not None:
            twin["run_at"] = min(twin["run_at"], row["run_at"]) if row["run_at"] else None
    return kept


def _row(job: NewJob) -> dict[str, Any]:
    if not 1 <= job.priority <= 10:
        raise Invalid(f"priority is 1 (first) to 10 (last), not {job.priority}.", code="bad_priority")
    if job.run_at is not None and job.run_at.tzinfo is None:
        raise Invalid("run_at needs a time zone.", code="bad_run_at")
    queue = queue_of(job.task)
    return {
        "id": new_id(),
        "task": job.task,
        "queue": queue,
        "args": registry.bind(job.task, job.args),
        "workspace_id": job.workspace_id,
        "scopes": list(job.scopes),
        "priority": job.priority,
        "max_attempts": job.max_attempts or settings().queues[queue].attempts,
        "run_at": job.run_at,
        "unique_key": job.unique_key,
        "serial_key": job.serial_key,
        "parent_id": job.parent or current_parent.get(),
        "trace_id": job.trace or current_trace.get(),
        "keep": f"{job.keep.total_seconds()} seconds" if job.keep else None,
    }


def _numbered(rows: list[dict[str, Any]], *, room_to_ring: int) -> list[dict[str, Any]]:
    return [
        {**row, "position": n, "may_ring": n < room_to_ring and ring.has_room(row["queue"])}
        for n, row in enumerate(rows)
    ]


def _rings(answers: list[Any]) -> list[ring.Ring]:
    """Return who is to be rung; an answer is a row of `RETURNING`."""
    return [ring.Ring(job_id, task, queue, priority) for job_id, _, task, queue, priority, rings in answers if rings]


# --- after the commit --------------------------------------------------------------------------------------------


def ring_after_commit(session: Session, rings: list[ring.Ring]) -> None:
    """Ring these jobs when, and only when, the transaction (and savepoint) at hand commits."""
    if rings:
        inside = session.get_nested_transaction() or session.get_transaction()
        session.info.setdefault("rings", []).append((inside, rings))


@event.listens_for(Session, "after_commit")
def _on_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        ring.soon([r for _, rings in session.info.pop("rings", ()) for r in rings])


@event.listens_for(Session, "after_soft_rollback")
def _on_rollback(session: Session, ended: SessionTransaction) -> None:
    kept = [(inside, rings) for inside, rings in session.info.pop("rings", ()) if not _within(inside, ended)]
    if kept:
        session.info["rings"] = kept


def _within(inside: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while inside is not None:
        if inside is ended:
            return True
        inside = inside.parent
    return False
