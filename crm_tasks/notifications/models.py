"""Tables of notifications: what happened, and who wants to hear of it elsewhere than here."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.crypto import Encrypted
from crm_tasks.core.db import Base, now
from crm_tasks.core.jobs.model import LANE
from crm_tasks.core.types import Choice, CreatedAt, Id, Moment, state_check


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """Its place among them: the higher, the worse."""
        return list(Severity).index(self)


class Notification(Base):
    """Something a person should know. While nobody has read it, the same again is counted and not repeated."""

    __tablename__ = "notifications"

    id: Mapped[Id]
    # None: it concerns the operators of the system and no single workspace.
    workspace_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    kind: Mapped[str]
    # What it is about, such as `channel:<id>`; empty if the kind says it all.
    subject: Mapped[str] = mapped_column(server_default="")
    severity: Mapped[Severity] = mapped_column(Choice(Severity))
    title: Mapped[str]
    text: Mapped[str]
    link: Mapped[str | None]
    count: Mapped[int] = mapped_column(server_default="1")
    first_at: Mapped[CreatedAt]
    last_at: Mapped[Moment] = mapped_column(server_default=now())
    # When the targets were last told of it.
    told_at: Mapped[Moment] = mapped_column(server_default=now())
    read_at: Mapped[Moment | None]

    __table_args__ = (
        state_check("severity", Severity),
        sa.CheckConstraint("count > 0", name="count"),
        sa.Index(
            "uq_notifications_unread",
            sa.text(LANE),
            "kind",
            "subject",
            unique=True,
            postgresql_where=sa.text("read_at IS NULL"),
        ),
        sa.Index("ix_notifications_workspace_id", "workspace_id", "id"),
        sa.Index("ix_notifications_read_at", "read_at", postgresql_where=sa.text("read_at IS NOT NULL")),
    )


class TargetKind(StrEnum):
    """How a target is told."""

    EMAIL = "email"
    WEBHOOK = "webhook"


class NotificationTarget(Base):
    """Somebody who wants to be told by e-mail or webhook, from a severity on."""

    __tablename__ = "notification_targets"

    id: Mapped[Id]
    # None: told of what concerns the operators.
    workspace_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    kind: Mapped[TargetKind] = mapped_column(Choice(TargetKind))
    address: Mapped[str]
    minimum_severity: Mapped[Severity] = mapped_column(Choice(Severity), server_default=Severity.WARNING)
    enabled: Mapped[bool] = mapped_column(server_default=sa.text("true"))
    # What webhooks are signed with; e-mail has none.
    secret: Mapped[str | None] = mapped_column(Encrypted)
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        state_check("kind", TargetKind),
        state_check("minimum_severity", Severity),
        sa.CheckConstraint("(kind = 'webhook') = (secret IS NOT NULL)", name="secret"),
        sa.Index("uq_notification_targets_address", sa.text(LANE), "kind", "address", unique=True),
    )
