"""Templates, and marks of people whom messages do not reach."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009_templates"
down_revision = "0008_media"
branch_labels = None
depends_on = None

_MOMENTS = ("status_at", "quality_at", "category_at", "components_at", "synced_at")


def upgrade() -> None:
    op.create_table(
        "templates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("waba_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("components", JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("parameter_format", sa.Text(), server_default="positional", nullable=False),
        sa.Column("parameters", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in _MOMENTS),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_templates_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_templates")),
        sa.UniqueConstraint(
            "workspace_id", "waba_id", "name", "language", name=op.f("uq_templates_workspace_id_waba_id_name_language")
        ),
    )
    op.add_column("identities", sa.Column("unreachable_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("identities", sa.Column("unreachable_reason", sa.Text(), nullable=True))
    op.create_index(
        "ix_identities_unreachable",
        "identities",
        ["contact_id"],
        unique=False,
        postgresql_where=sa.text("unreachable_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_identities_unreachable", table_name="identities")
    op.drop_column("identities", "unreachable_reason")
    op.drop_column("identities", "unreachable_at")
    op.drop_table("templates")
