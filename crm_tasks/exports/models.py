"""Table of exports: what was asked for, how far it is, and where its file is."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, state_check


class ExportState(StrEnum):
    """How far an export is; `removed` is one whose file is gone: too old, deleted, or a person in it was erased."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REMOVED = "removed"


LIVE = (ExportState.QUEUED, ExportState.RUNNING)


class ExportKind(StrEnum):
    """What is exported."""

    CONTACTS = "contacts"
    CONVERSATIONS = "conversations"
    MESSAGES = "messages"
    RECIPIENTS = "recipients"
    DEAD_LETTERS = "dead_letters"


class ExportFormat(StrEnum):
    """What is written."""

    CSV = "csv"
    XLSX = "xlsx"


class Export(Base):
    """A file that somebody asked for. The row stays when the file is gone: it says who took what out."""

    __tablename__ = "exports"

    # Also the bound: what was made later has a greater id and is not in it.
    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    state: Mapped[ExportState] = mapped_column(Choice(ExportState), server_default=ExportState.QUEUED)
    # Why it failed, was stopped, or has no file any more: a code and words.
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    kind: Mapped[ExportKind] = mapped_column(Choice(ExportKind))
    format: Mapped[ExportFormat] = mapped_column(Choice(ExportFormat))
    # As `schemas.py` reads them; ids and moments as text.
    filters: Mapped[Json]
    actor: Mapped[str]
    # How many rows there were at the beginning, and how many are written.
    total: Mapped[int | None] = mapped_column(sa.BigInteger)
    rows: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    size: Mapped[int | None] = mapped_column(sa.BigInteger)
    storage_key: Mapped[str | None]
    downloads: Mapped[int] = mapped_column(server_default="0")
    downloaded_at: Mapped[Moment | None]
    job_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        state_check("state", ExportState),
        state_check("kind", ExportKind),
        state_check("format", ExportFormat),
        sa.CheckConstraint("(state = 'finished') = (storage_key IS NOT NULL)", name="file"),
        sa.Index("ix_exports_workspace_id", "workspace_id", "id"),
        # For who removes old files.
        sa.Index("ix_exports_file", "id", postgresql_where=sa.text("storage_key IS NOT NULL")),
    )
