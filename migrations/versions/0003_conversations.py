"""Contacts, conversations, messages, raw events and statuses."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON, JSONB

revision = "0003_conversations"
down_revision = "0002_workspaces"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_updates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("value", JSON(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_updates")),
        sa.UniqueConstraint(
            "workspace_id", "field", "digest", name=op.f("uq_account_updates_workspace_id_field_digest")
        ),
    )
    op.create_index("ix_account_updates_workspace_id", "account_updates", ["workspace_id", "id"], unique=False)
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("profile_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attributes", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("duplicate_of", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["duplicate_of"], ["contacts.id"], name=op.f("fk_contacts_duplicate_of"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
    )
    op.create_index("ix_contacts_workspace_id", "contacts", ["workspace_id", "id"], unique=False)
    op.create_table(
        "inbound_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signed_by", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("state", sa.Text(), server_default="received", nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("workspace_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("state IN ('received', 'done', 'quarantined')", name=op.f("ck_inbound_events_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_events")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(
        "ix_inbound_events_open",
        "inbound_events",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state <> 'done'"),
    )
    op.create_table(
        "status_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("detail", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_status_events")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_status_events_message_id", "status_events", ["message_id"], unique=False)
    op.create_index(
        "ix_status_events_parked",
        "status_events",
        ["channel_id", "provider_id"],
        unique=False,
        postgresql_where=sa.text("message_id IS NULL"),
    )
    op.create_index("ix_status_events_provider_id", "status_events", ["provider_id"], unique=False)
    op.create_table(
        "identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('phone', 'wa_id', 'bsuid', 'parent_bsuid')", name=op.f("ck_identities_kind")),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_identities_contact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
    )
    op.create_index(op.f("ix_identities_contact_id"), "identities", ["contact_id"], unique=False)
    op.create_index(
        "ix_identities_retired",
        "identities",
        ["workspace_id", "kind", "value"],
        unique=False,
        postgresql_where=sa.text("retired_at IS NOT NULL"),
    )
    op.create_index(
        "uq_identities_value",
        "identities",
        ["workspace_id", "kind", "value"],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    op.create_table(
        "conversations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("last_inbound_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_message_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.CheckConstraint("(contact_id IS NULL) <> (group_id IS NULL)", name=op.f("ck_conversations_with")),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=op.f("fk_conversations_channel_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_conversations_contact_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_conversations_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    op.create_index("ix_conversations_contact_id", "conversations", ["contact_id"], unique=False)
    op.create_index("ix_conversations_recent", "conversations", ["workspace_id", "last_message_at", "id"], unique=False)
    op.create_index("uq_conversations_contact", "conversations", ["channel_id", "contact_id"], unique=True)
    op.create_index("uq_conversations_group", "conversations", ["channel_id", "group_id"], unique=True)
    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("content", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("context_provider_id", sa.Text(), nullable=True),
        sa.Column("target_provider_id", sa.Text(), nullable=True),
        sa.Column("answer_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("trace_id", sa.Uuid(), nullable=True),
        sa.Column("raw", JSON(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("claim_no", sa.Integer(), nullable=True),
        sa.Column("error", JSONB(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("played_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_messages_direction")),
        sa.CheckConstraint(
            "state IN ('received', 'planned', 'queued', 'sending', 'accepted', 'sent', 'delivered', "
            "'read', 'played', 'failed', 'suppressed', 'unknown', 'cancelled')",
            name=op.f("ck_messages_state"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_messages_contact_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_messages_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index("ix_messages_history", "messages", ["conversation_id", "occurred_at", "id"], unique=False)
    op.create_index(
        "ix_messages_open",
        "messages",
        ["state", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('planned', 'queued', 'sending', 'unknown')"),
    )
    op.create_index(
        "ix_messages_target",
        "messages",
        ["channel_id", "target_provider_id"],
        unique=False,
        postgresql_where=sa.text("target_provider_id IS NOT NULL"),
    )
    op.create_index("uq_messages_provider_id", "messages", ["channel_id", "provider_id"], unique=True)
    # A row outside every part is kept all the same.
    op.execute("CREATE TABLE inbound_events_default PARTITION OF inbound_events DEFAULT")
    op.execute("CREATE TABLE status_events_default PARTITION OF status_events DEFAULT")


def downgrade() -> None:
    op.drop_table("messages")
    op.drop_table("conversations")
    op.drop_table("identities")
    op.drop_table("status_events")
    op.drop_table("inbound_events")
    op.drop_table("contacts")
    op.drop_table("account_updates")
