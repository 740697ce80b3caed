"""Tables of files: each file, and what the provider calls those that we brought it."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Moment, state_check


class MediaDirection(StrEnum):
    """Whose file: `in` a customer's, `out` ours."""

    IN = "in"
    OUT = "out"


class MediaState(StrEnum):
    """How far a file is. What failed may be tried again; what expired is at the provider no more."""

    WANTED = "wanted"
    FETCHING = "fetching"
    STORED = "stored"
    FAILED = "failed"
    EXPIRED = "expired"


class Media(Base):
    """A file."""

    __tablename__ = "media"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    # The channel that it came through, or by whose rules it was taken.
    channel_id: Mapped[uuid.UUID | None]
    direction: Mapped[MediaDirection] = mapped_column(Choice(MediaDirection))
    state: Mapped[MediaState] = mapped_column(Choice(MediaState))
    # Why it failed: a code and words.
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    # Where it is fetched from: the provider, under an id that lives for some days, or a link.
    provider_media_id: Mapped[str | None]
    provider_expires_at: Mapped[Moment | None]
    link: Mapped[str | None]
    # What was said of it, and what its content is.
    mime_type: Mapped[str | None]
    sniffed_type: Mapped[str | None]
    filename: Mapped[str | None]
    size: Mapped[int | None] = mapped_column(sa.BigInteger)
    # Hex. Of what a customer sent: what the webhook announced, until the file itself is here.
    sha256: Mapped[str | None]
    storage_key: Mapped[str | None]
    job_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    fetched_at: Mapped[Moment | None]

    __table_args__ = (
        state_check("direction", MediaDirection),
        state_check("state", MediaState),
        sa.CheckConstraint("(state = 'stored') = (storage_key IS NOT NULL)", name="stored"),
        sa.Index("ix_media_workspace_id", "workspace_id", "id"),
    )


class MediaUpload(Base):
    """What the provider calls a file that a channel brought it. One message at a time brings it."""

    __tablename__ = "media_uploads"

    media_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("media.id", ondelete="CASCADE"), primary_key=True)
    channel_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    provider_media_id: Mapped[str | None]
    expires_at: Mapped[Moment | None]
    leased_by: Mapped[uuid.UUID]
    leased_until: Mapped[Moment]
