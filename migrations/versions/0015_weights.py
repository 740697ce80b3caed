"""Workspaces have a weight: the share of the workers that they get while others have work too."""

import sqlalchemy as sa
from alembic import op

revision = "0015_weights"
down_revision = "0014_campaigns"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("weight", sa.SmallInteger(), server_default="1", nullable=False))
    op.create_check_constraint("ck_workspaces_weight", "workspaces", "weight BETWEEN 1 AND 100")


def downgrade() -> None:
    op.drop_constraint("ck_workspaces_weight", "workspaces")
    op.drop_column("workspaces", "weight")
