"""Contacts as a business keeps them: tags, typed attributes, an id of its own, who looks after them; and search."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011_contacts"
down_revision = "0010_email"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.add_column(
        "contacts", sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.add_column("contacts", sa.Column("external_id", sa.Text(), nullable=True))
    op.add_column("contacts", sa.Column("assigned_to", sa.Uuid(), nullable=True))
    op.add_column("contacts", sa.Column("import_id", sa.Uuid(), nullable=True))
    op.add_column(
        "contacts",
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
    )
    op.add_column("contacts", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "uq_contacts_external_id",
        "contacts",
        ["workspace_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_import_id",
        "contacts",
        ["import_id", "id"],
        postgresql_where=sa.text("import_id IS NOT NULL"),
    )
    op.create_index("ix_contacts_tags", "contacts", ["tags"], postgresql_using="gin")
    op.create_index("ix_contacts_name", "contacts", [sa.text("lower(name) gin_trgm_ops")], postgresql_using="gin")
    op.create_index(
        "ix_identities_search",
        "identities",
        [sa.text("value gin_trgm_ops")],
        postgresql_using="gin",
        postgresql_where=sa.text("kind IN ('phone', 'email') AND retired_at IS NULL"),
    )
    op.create_table(
        "attributes",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("crm_now()"), nullable=False),
        sa.CheckConstraint("type IN ('text', 'number', 'boolean', 'date')", name=op.f("ck_attributes_type")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_attributes_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "name", name=op.f("pk_attributes")),
    )


def downgrade() -> None:
    op.drop_table("attributes")
    op.drop_index("ix_identities_search", table_name="identities")
    for name in ("ix_contacts_name", "ix_contacts_tags", "ix_contacts_import_id", "uq_contacts_external_id"):
        op.drop_index(name, table_name="contacts")
    for name in ("erased_at", "updated_at", "import_id", "assigned_to", "external_id", "tags"):
        op.drop_column("contacts", name)
    op.execute("DROP EXTENSION IF EXISTS pg_trgm")
