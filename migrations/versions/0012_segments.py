"""Segments, actions on many contacts, erasures with their certificates; indexes for whom is removed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012_segments"
down_revision = "0011_contacts"
branch_labels = None
depends_on = None

_STATES = "state IN ('queued', 'running', 'finished', 'failed', 'cancelled')"


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("suppression_key", sa.LargeBinary(), nullable=True))
    op.create_index(
        "ix_messages_contact_id",
        "messages",
        ["contact_id", "id"],
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_duplicate_of",
        "contacts",
        ["duplicate_of"],
        postgresql_where=sa.text("duplicate_of IS NOT NULL"),
    )
    _segments()
    _bulk_actions()
    _erasures()


def downgrade() -> None:
    for table in ("erasures", "bulk_actions", "segments"):
        op.drop_table(table)
    op.drop_index("ix_contacts_duplicate_of", table_name="contacts")
    op.drop_index("ix_messages_contact_id", table_name="messages")
    op.drop_column("workspaces", "suppression_key")


def _segments() -> None:
    op.create_table(
        "segments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _json("conditions"),
        _moment("created_at"),
        _moment("changed_at"),
        _workspace("segments"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_segments_workspace_id_name")),
    )
    op.create_index("ix_segments_workspace_id", "segments", ["workspace_id", "id"])


def _bulk_actions() -> None:
    op.create_table(
        "bulk_actions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        _json("audience"),
        _json("value"),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("audience_size", sa.Integer(), nullable=True),
        sa.Column("matched", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cursor", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        _moment("created_at"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("action IN ('tag', 'untag', 'assign', 'delete')", name=op.f("ck_bulk_actions_action")),
        sa.CheckConstraint(_STATES, name=op.f("ck_bulk_actions_state")),
        sa.CheckConstraint("matched >= changed + failed", name=op.f("ck_bulk_actions_totals")),
        _workspace("bulk_actions"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_actions")),
    )
    op.create_index("ix_bulk_actions_workspace_id", "bulk_actions", ["workspace_id", "id"])


def _erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("wanted", sa.LargeBinary(), nullable=True),
        _json("cursor"),
        _json("stores"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        _moment("created_at"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(_STATES, name=op.f("ck_erasures_state")),
        sa.CheckConstraint("(state = 'finished') = (wanted IS NULL)", name=op.f("ck_erasures_wanted")),
        _workspace("erasures"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sa.UniqueConstraint("contact_id", name=op.f("uq_erasures_contact_id")),
    )
    op.create_index("ix_erasures_workspace_id", "erasures", ["workspace_id", "id"])


def _json(name: str) -> sa.Column:
    return sa.Column(name, postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False)


def _moment(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False)


def _workspace(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_workspace_id")
    return sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=name, ondelete="CASCADE")
