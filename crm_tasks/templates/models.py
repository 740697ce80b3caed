"""The table of templates. Each aspect has the moment from which it is known: the newest word wins, in any order."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import CreatedAt, Id, Json, Moment

APPROVED, DELETED = "APPROVED", "DELETED"


class Template(Base):
    """One template in one language, of one business account at the provider."""

    __tablename__ = "templates"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    waba_id: Mapped[str]
    provider_id: Mapped[str | None]
    name: Mapped[str]
    language: Mapped[str]
    # `marketing`, `utility`, `authentication`, or what the provider invents next.
    category: Mapped[str]
    # In the provider's words; only APPROVED can be sent.
    status: Mapped[str]
    quality: Mapped[str | None]
    reason: Mapped[str | None]
    components: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=sa.text("'[]'"))
    parameter_format: Mapped[str] = mapped_column(server_default="positional")
    # What a message must fill in, derived from the components (`shape.wanted`).
    parameters: Mapped[Json]
    status_at: Mapped[Moment]
    quality_at: Mapped[Moment]
    category_at: Mapped[Moment]
    components_at: Mapped[Moment]
    synced_at: Mapped[Moment]
    created_at: Mapped[CreatedAt]

    __table_args__ = (sa.UniqueConstraint("workspace_id", "waba_id", "name", "language"),)

    @property
    def sendable(self) -> bool:
        """Whether the provider takes it."""
        return self.status == APPROVED
