"""Rates that providers taught us."""

import sqlalchemy as sa
from alembic import op

revision = "0005_pace"
down_revision = "0004_channels"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pace_rates",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("factor", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pace_rates")),
    )


def downgrade() -> None:
    op.drop_table("pace_rates")
