"""Tables of imports: each file, what its parts came to, the rows that were refused, and what to put back on undo."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, Texts, state_check


class ImportState(StrEnum):
    """How far an import is."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNDOING = "undoing"
    UNDONE = "undone"


LIVE = (ImportState.QUEUED, ImportState.RUNNING)
OVER = (ImportState.FINISHED, ImportState.FAILED, ImportState.CANCELLED)


class Duplicates(StrEnum):
    """What a row does to a contact that is there: nothing, overwrite with what it has, or fill what is empty."""

    SKIP = "skip"
    UPDATE = "update"
    MERGE = "merge"


class Import(Base):
    """A file of contacts. Its cursor moves in the transaction that ends a batch, so that a killed one resumes there."""

    __tablename__ = "imports"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    state: Mapped[ImportState] = mapped_column(Choice(ImportState), server_default=ImportState.QUEUED)
    # Why it failed: a code and words.
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    actor: Mapped[str]
    filename: Mapped[str | None]
    # Of the file as it is read: UTF-8, with lines.
    size: Mapped[int] = mapped_column(sa.BigInteger)
    # Hex, of the file as it came.
    sha256: Mapped[str]
    storage_key: Mapped[str | None]
    encoding: Mapped[str]
    delimiter: Mapped[str]
    warnings: Mapped[Texts]
    header: Mapped[Texts]
    # What each column is, as in `mapping.py`; empty is ignored.
    targets: Mapped[Texts]
    region: Mapped[str]
    tags: Mapped[Texts]
    duplicates: Mapped[Duplicates] = mapped_column(Choice(Duplicates))
    # Where the next batch begins: its number, a byte of the file, the line there.
    batch: Mapped[int] = mapped_column(server_default="0")
    position: Mapped[int] = mapped_column(sa.BigInteger)
    line: Mapped[int] = mapped_column(sa.BigInteger)
    job_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]
    # What an undo came to, and how far it is.
    undo_step: Mapped[str | None]
    undo_cursor: Mapped[uuid.UUID | None]
    undone: Mapped[Json]

    __table_args__ = (
        state_check("state", ImportState),
        state_check("duplicates", Duplicates),
        sa.Index("ix_imports_workspace_id", "workspace_id", "id"),
    )


class ImportPart(Base):
    """What one part of a batch came to; written first in its transaction, so that nobody does it a second time."""

    __tablename__ = "import_parts"

    import_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)
    batch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created: Mapped[int]
    updated: Mapped[int]
    skipped: Mapped[int]
    rejected: Mapped[int]
    at: Mapped[CreatedAt]


class ImportReject(Base):
    """A row that was refused: where, what and why."""

    __tablename__ = "import_rejects"

    # No foreign key: a file may have a million of them.
    import_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    column: Mapped[str]
    value: Mapped[str]
    code: Mapped[str]
    reason: Mapped[str]


class ImportChange(Base):
    """A contact that was there before: what it had, what the import made of it, and the identities it got."""

    __tablename__ = "import_changes"

    # No foreign keys: as many as the file has rows.
    import_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    contact_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    before: Mapped[Json]
    after: Mapped[Json]
    identity_ids: Mapped[list[uuid.UUID]] = mapped_column(sa.ARRAY(sa.Uuid), server_default=sa.text("'{}'"))

    __table_args__ = (sa.Index("ix_import_changes_contact_id", "contact_id"),)
