"""Recipients are listed and rehearsed by their contacts' ids, in whose order they are planned: an index less to write.

A forecast that is being made has to be asked for again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019_recipients"
down_revision = "0018_waiting"
branch_labels = None
depends_on = None

_FORGET = "UPDATE campaigns SET rehearse_sums = '{}', rehearse_since = NULL WHERE rehearsal IS NULL"


def upgrade() -> None:
    op.drop_index("uq_recipients_position", "recipients")
    op.execute(_FORGET)
    op.drop_column("campaigns", "rehearse_cursor")
    op.add_column("campaigns", sa.Column("rehearse_cursor", sa.Uuid()))


def downgrade() -> None:
    op.execute(_FORGET)
    op.drop_column("campaigns", "rehearse_cursor")
    op.add_column("campaigns", sa.Column("rehearse_cursor", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("uq_recipients_position", "recipients", ["campaign_id", "position"], unique=True)
