"""Tables of work on contacts: one action on many, and the erasure of one with its certificate."""

import uuid
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.crypto import Encrypted
from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, state_check


class Action(StrEnum):
    """What is done to many contacts."""

    TAG = "tag"
    UNTAG = "untag"
    ASSIGN = "assign"
    DELETE = "delete"


class WorkState(StrEnum):
    """How far such work is."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (WorkState.QUEUED, WorkState.RUNNING)


class BulkAction(Base):
    """One action on an audience, done batch by batch: cursor and totals move with each, in its transaction."""

    __tablename__ = "bulk_actions"

    # Also the bound: who was made later has a greater id and is not meant.
    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    action: Mapped[Action] = mapped_column(Choice(Action))
    audience: Mapped[Json]
    # {"tags": […]} or {"user_id": … or null}.
    value: Mapped[Json]
    state: Mapped[WorkState] = mapped_column(Choice(WorkState), server_default=WorkState.QUEUED)
    # How many were meant at the beginning; the others count who was come to.
    audience_size: Mapped[int | None]
    matched: Mapped[int] = mapped_column(server_default="0")
    changed: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    cursor: Mapped[uuid.UUID | None]
    actor: Mapped[str]
    job_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        state_check("action", Action),
        state_check("state", WorkState),
        sa.CheckConstraint("matched >= changed + failed", name="totals"),
        sa.Index("ix_bulk_actions_workspace_id", "workspace_id", "id"),
    )


class Erasure(Base):
    """The erasure of a person, and its certificate: which stores were touched, and how many rows in each."""

    __tablename__ = "erasures"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    # No foreign key: the certificate outlives all else.
    contact_id: Mapped[uuid.UUID] = mapped_column(unique=True)
    state: Mapped[WorkState] = mapped_column(Choice(WorkState), server_default=WorkState.QUEUED)
    # Names and addresses to look for; none once it is finished.
    wanted: Mapped[dict[str, Any] | None] = mapped_column(Encrypted)
    # How far it is: which store, and where in it.
    cursor: Mapped[Json]
    # Rows touched by store.
    stores: Mapped[Json]
    actor: Mapped[str]
    job_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        state_check("state", WorkState),
        sa.CheckConstraint("(state = 'finished') = (wanted IS NULL)", name="wanted"),
        sa.Index("ix_erasures_workspace_id", "workspace_id", "id"),
    )
