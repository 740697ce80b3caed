"""Channels of every kind, rules of a workspace, suppressions, and what a message was asked to be."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004_channels"
down_revision = "0003_conversations"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("ck_channels_kind", "channels")
    op.add_column("channels", sa.Column("settings", JSONB(), server_default=sa.text("'{}'"), nullable=False))
    op.alter_column("channels", "base_url", server_default="")
    op.alter_column("channels", "api_version", nullable=True)
    op.alter_column("channels", "phone_number_id", nullable=True)
    op.create_table(
        "policies",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_policies_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "name", name=op.f("pk_policies")),
    )
    op.add_column("contacts", sa.Column("time_zone", sa.Text(), nullable=True))
    op.add_column("contacts", sa.Column("locale", sa.Text(), nullable=True))
    op.drop_constraint("ck_identities_kind", "identities")
    op.create_check_constraint(
        op.f("ck_identities_kind"), "identities", "kind IN ('phone', 'wa_id', 'bsuid', 'parent_bsuid', 'email')"
    )
    _create_consent()
    op.add_column("conversations", sa.Column("human_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("conversations", sa.Column("human_by", sa.Text(), nullable=True))
    _extend_messages()
    # What one request has caused is shown as one story.
    op.create_index("ix_jobs_trace_id", "jobs", ["trace_id"])
    op.create_index("ix_messages_trace_id", "messages", ["trace_id"], postgresql_where=sa.text("trace_id IS NOT NULL"))


def _create_consent() -> None:
    op.create_table(
        "suppressions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("medium", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("evidence", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.CheckConstraint("scope IN ('marketing', 'all')", name=op.f("ck_suppressions_scope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppressions")),
        sa.UniqueConstraint(
            "workspace_id",
            "address",
            "medium",
            "scope",
            name=op.f("uq_suppressions_workspace_id_address_medium_scope"),
        ),
    )
    op.create_index("ix_suppressions_workspace_id", "suppressions", ["workspace_id", "id"])
    op.create_table(
        "consent_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("medium", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("evidence", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.CheckConstraint("scope IN ('marketing', 'all')", name=op.f("ck_consent_events_scope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_events")),
    )
    op.create_index("ix_consent_events_address", "consent_events", ["workspace_id", "address", "id"])


def _extend_messages() -> None:
    op.add_column("messages", sa.Column("category", sa.Text(), server_default="service", nullable=False))
    op.add_column("messages", sa.Column("scheduled_for", sa.DateTime(timezone=True), nullable=True))
    op.add_column("messages", sa.Column("fallback", JSONB(), nullable=True))
    op.add_column("messages", sa.Column("fallback_of", sa.Uuid(), nullable=True))
    op.add_column("messages", sa.Column("parts", sa.SmallInteger(), nullable=True))
    op.add_column("messages", sa.Column("cost", sa.BigInteger(), nullable=True))
    op.add_column("messages", sa.Column("gates", JSONB(), nullable=True))
    op.create_check_constraint(
        op.f("ck_messages_category"), "messages", "category IN ('marketing', 'utility', 'authentication', 'service')"
    )
    op.create_index(
        "ix_messages_scheduled",
        "messages",
        ["workspace_id", "scheduled_for", "id"],
        postgresql_where=sa.text("state = 'queued' AND scheduled_for IS NOT NULL"),
    )
    op.create_index(
        "ix_messages_marketing",
        "messages",
        ["contact_id", "occurred_at"],
        postgresql_where=sa.text("direction = 'out' AND category = 'marketing'"),
    )
    op.create_index(
        "ix_messages_cost",
        "messages",
        ["workspace_id", "accepted_at"],
        postgresql_include=["cost"],
        postgresql_where=sa.text("cost IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_trace_id", "jobs")
    for name in ("trace_id", "cost", "marketing", "scheduled"):
        op.drop_index(f"ix_messages_{name}", "messages")
    op.drop_constraint("ck_messages_category", "messages")
    for name in ("gates", "cost", "parts", "fallback_of", "fallback", "scheduled_for", "category"):
        op.drop_column("messages", name)
    op.drop_column("conversations", "human_by")
    op.drop_column("conversations", "human_since")
    op.drop_table("consent_events")
    op.drop_table("suppressions")
    op.drop_constraint("ck_identities_kind", "identities")
    op.create_check_constraint(
        op.f("ck_identities_kind"), "identities", "kind IN ('phone', 'wa_id', 'bsuid', 'parent_bsuid')"
    )
    op.drop_column("contacts", "locale")
    op.drop_column("contacts", "time_zone")
    op.drop_table("policies")
    op.alter_column("channels", "phone_number_id", nullable=False)
    op.alter_column("channels", "api_version", nullable=False)
    op.alter_column("channels", "base_url", server_default=None)
    op.drop_column("channels", "settings")
    op.create_check_constraint(op.f("ck_channels_kind"), "channels", "kind IN ('whatsapp')")
