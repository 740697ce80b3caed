"""Recipients are listed and rehearsed by their contacts' ids, in whose order they are planned: an index less to write.

A forecast that is being made has to be asked for again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019_recipients"
down_revision = "0018_waiting"
branch_labels = None
depends_on = None

_FORGET = """
    UPDATE campaigns SET rehearse_sums = '{}', rehearse_since = NULL, rehearse_cursor = 0
    WHERE rehearse_since IS NOT NULL AND rehearsal IS NULL
"""


def upgrade() -> None:
    op.drop_index("uq_recipients_position", "recipients")
    op.add_column("campaigns", sa.Column("rehearse_after", sa.Uuid()))
    op.execute(_FORGET)


def downgrade() -> None:
    op.execute(_FORGET)
    op.drop_column("campaigns", "rehearse_after")
    op.create_index("uq_recipients_position", "recipients", ["campaign_id", "position"], unique=True)
