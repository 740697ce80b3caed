"""Notifications, and who is told of them; since when a channel has its credentials."""

import sqlalchemy as sa
from alembic import op

revision = "0007_notifications"
down_revision = "0006_webhooks"
branch_labels = None
depends_on = None

_LANE = "coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid)"
_SEVERITIES = "'info', 'warning', 'error'"


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(f"severity IN ({_SEVERITIES})", name=op.f("ck_notifications_severity")),
        sa.CheckConstraint("count > 0", name=op.f("ck_notifications_count")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_notifications_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(
        "uq_notifications_unread",
        "notifications",
        [sa.text(_LANE), "kind", "subject"],
        unique=True,
        postgresql_where=sa.text("read_at IS NULL"),
    )
    op.create_index("ix_notifications_workspace_id", "notifications", ["workspace_id", "id"], unique=False)
    op.create_index(
        "ix_notifications_read_at",
        "notifications",
        ["read_at"],
        unique=False,
        postgresql_where=sa.text("read_at IS NOT NULL"),
    )
    op.create_table(
        "notification_targets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("minimum_severity", sa.Text(), server_default="warning", nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.CheckConstraint("kind IN ('email', 'webhook')", name=op.f("ck_notification_targets_kind")),
        sa.CheckConstraint(
            f"minimum_severity IN ({_SEVERITIES})", name=op.f("ck_notification_targets_minimum_severity")
        ),
        sa.CheckConstraint("(kind = 'webhook') = (secret IS NOT NULL)", name=op.f("ck_notification_targets_secret")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_notification_targets_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_targets")),
    )
    op.create_index(
        "uq_notification_targets_address",
        "notification_targets",
        [sa.text(_LANE), "kind", "address"],
        unique=True,
    )
    op.add_column(
        "channels",
        sa.Column("credentials_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("channels", "credentials_at")
    op.drop_table("notification_targets")
    op.drop_table("notifications")
