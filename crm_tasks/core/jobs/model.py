"""The tables of the ledger. Indexes are partial over what is alive, so that their cost does not grow with history."""

import uuid
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base, now
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, Texts, state_check

MAX_ERRORS = 20
# The errors of a job with one more; {0} is the parameter that brings it, a list of one.
LAST_ERRORS = f"jsonb_path_query_array(errors || cast({{0}} AS jsonb), '$[last - {MAX_ERRORS - 1} to last]')"
# held_by of a job whose task no worker that took its ring knows; the scheduler lets it go when one appears.
UNKNOWN_TASK = "unknown task"

# Work of no workspace (housekeeping) takes its turn like a workspace of its own.
LANE = "coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid)"
# The holds in force on a job; {0} is the alias of its row.
HOLDING = """
    FROM holds h
    WHERE h.released_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > crm_now())
      AND h.scope = ANY(
            ARRAY['all', 'queue:' || {0}.queue, 'task:' || {0}.task, 'workspace:' || {0}.workspace_id] || {0}.scopes)
"""


class JobState(StrEnum):
    """The five states. Waiting, delayed, active, completed and failed are other people's words for them."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"


LIVE = (JobState.QUEUED, JobState.RUNNING)


class Job(Base):
    """One accepted piece of work. Its id is its Celery task id."""

    __tablename__ = "jobs"

    id: Mapped[Id]
    task: Mapped[str]
    queue: Mapped[str]
    args: Mapped[Json]
    workspace_id: Mapped[uuid.UUID | None]
    scopes: Mapped[Texts]
    priority: Mapped[int] = mapped_column(sa.SmallInteger, server_default="5")
    state: Mapped[JobState] = mapped_column(Choice(JobState), server_default=JobState.QUEUED)

    # Three counters that never stand in for each other: the fence, the failures, the lost leases.
    claim_no: Mapped[int] = mapped_column(server_default="0")
    attempt: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    crashes: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(sa.SmallInteger)

    run_at: Mapped[Moment] = mapped_column(server_default=now())
    rung_at: Mapped[Moment | None]
    rings: Mapped[int] = mapped_column(server_default="0")
    held_by: Mapped[str | None]
    lease_until: Mapped[Moment | None]
    worker: Mapped[str | None]

    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]

    unique_key: Mapped[str | None]
    key_was: Mapped[str | None]
    serial_key: Mapped[str | None]
    parent_id: Mapped[uuid.UUID | None]
    trace_id: Mapped[uuid.UUID | None]

    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    result: Mapped[Any | None] = mapped_column(JSONB)
    errors: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sa.text("'[]'"))
    fingerprint: Mapped[str | None]
    # How often a person sent it back from the dead letters; why it was cancelled, discarded or put off.
    revivals: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    reason: Mapped[str | None]
    keep: Mapped[timedelta | None]

    __table_args__ = (
        state_check("state", JobState),
        sa.CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
        sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        sa.CheckConstraint("(state IN ('queued', 'running')) = (finished_at IS NULL)", name="finished"),
        sa.Index(
            "ix_jobs_due",
            "queue",
            "priority",
            sa.text(LANE),
            "run_at",
            postgresql_where=sa.text("state = 'queued' AND rung_at IS NULL AND held_by IS NULL"),
        ),
        sa.Index(
            "ix_jobs_rung",
            "queue",
            "rung_at",
            postgresql_include=["run_at"],
            postgresql_where=sa.text("state = 'queued' AND rung_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_jobs_held", "held_by", "queue", postgresql_where=sa.text("state = 'queued' AND held_by IS NOT NULL")
        ),
        sa.Index("ix_jobs_running", "queue", postgresql_where=sa.text("state = 'running'")),
        sa.Index("ix_jobs_dead", "fingerprint", "queue", postgresql_where=sa.text("state = 'dead'")),
        sa.Index("ix_jobs_revived", "state", postgresql_where=sa.text("revivals > 0")),
        sa.Index("ix_jobs_trace_id", "trace_id"),
        sa.Index("ix_jobs_finished", "finished_at", postgresql_where=sa.text("finished_at IS NOT NULL")),
        sa.Index(
            "uq_jobs_unique_key",
            "unique_key",
            unique=True,
            postgresql_where=sa.text("state = 'queued' AND unique_key IS NOT NULL"),
        ),
        sa.Index(
            "uq_jobs_serial_key",
            "serial_key",
            unique=True,
            postgresql_where=sa.text("state = 'running' AND serial_key IS NOT NULL"),
        ),
        sa.Index(
            "ix_jobs_serial_queued",
            "serial_key",
            "id",
            postgresql_where=sa.text("state = 'queued' AND serial_key IS NOT NULL"),
        ),
        {
            # Leases are renewed in place (HOT); finished rows are many and dead soon: vacuum by count, at once.
            "postgresql_with": {
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0,
                "autovacuum_vacuum_threshold": 5000,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
    )


# Of what is queued and not held, what was rung and what was not have an index each, and both together have none. Who
# looks for them among very many that are over asks about each half.
QUEUED_HALVES = tuple(
    sa.and_(Job.state == sa.literal_column(f"'{JobState.QUEUED}'"), Job.held_by.is_(None), half)
    for half in (Job.rung_at.is_(None), Job.rung_at.is_not(None))
)


class Hold(Base):
    """Stops work by scope: `all`, `queue:…`, `task:…`, `workspace:…`, or a scope that jobs name (`channel:…`)."""

    __tablename__ = "holds"

    id: Mapped[Id]
    scope: Mapped[str]
    reason: Mapped[str]
    actor: Mapped[str]
    workspace_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment | None]
    released_at: Mapped[Moment | None]
    released_by: Mapped[str | None]

    __table_args__ = (sa.Index("ix_holds_active", "scope", postgresql_where=sa.text("released_at IS NULL")),)


class CalendarEntry(Base):
    """When a recurring job fires next. Firing is a compare-and-set on `next_at`."""

    __tablename__ = "calendar"

    entry: Mapped[str] = mapped_column(primary_key=True)
    spec: Mapped[str]
    next_at: Mapped[Moment]
    last_at: Mapped[Moment | None]
    last_job_id: Mapped[uuid.UUID | None]


class Process(Base):
    """A running process of the system, as its heartbeat tells."""

    __tablename__ = "processes"

    id: Mapped[Id]
    kind: Mapped[str]
    name: Mapped[str]
    host: Mapped[str]
    # Where its pid means something: one boot of one machine, one pid namespace.
    machine: Mapped[str | None]
    pid: Mapped[int]
    queues: Mapped[Texts]
    tasks: Mapped[Texts]
    pool: Mapped[str | None]
    concurrency: Mapped[int | None]
    version: Mapped[str | None]
    counters: Mapped[Json]
    running: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    seen_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    stopped_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))

    __table_args__ = (sa.Index("ix_processes_seen_at", "seen_at"),)


class JobMinute(Base):
    """What finished in one minute, per queue and state; the histograms count jobs by run and wait time."""

    __tablename__ = "job_minutes"

    minute: Mapped[Moment] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    jobs: Mapped[int]
    run: Mapped[list[int]] = mapped_column(sa.ARRAY(sa.Integer))
    wait: Mapped[list[int]] = mapped_column(sa.ARRAY(sa.Integer))


class Watermark(Base):
    """How far a piece of housekeeping has come, for instance the roll-up of minutes."""

    __tablename__ = "watermarks"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Moment]
