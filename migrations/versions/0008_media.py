"""Files of messages, and what the provider calls those that we brought it."""

import sqlalchemy as sa
from alembic import op

revision = "0008_media"
down_revision = "0007_notifications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "media",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=True),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("provider_media_id", sa.Text(), nullable=True),
        sa.Column("provider_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("mime_type", sa.Text(), nullable=True),
        sa.Column("sniffed_type", sa.Text(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("storage_key", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_media_direction")),
        sa.CheckConstraint(
            "state IN ('wanted', 'fetching', 'stored', 'failed', 'expired')", name=op.f("ck_media_state")
        ),
        sa.CheckConstraint("(state = 'stored') = (storage_key IS NOT NULL)", name=op.f("ck_media_stored")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
    )
    op.create_index("ix_media_workspace_id", "media", ["workspace_id", "id"])
    op.create_table(
        "media_uploads",
        sa.Column("media_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("provider_media_id", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_by", sa.Uuid(), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["media_id"], ["media.id"], name=op.f("fk_media_uploads_media_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("media_id", "channel_id", name=op.f("pk_media_uploads")),
    )
    op.add_column("messages", sa.Column("media_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_messages_media_id",
        "messages",
        ["media_id"],
        postgresql_where=sa.text("media_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_messages_media_id", table_name="messages")
    op.drop_column("messages", "media_id")
    op.drop_table("media_uploads")
    op.drop_table("media")
