"""Conversations in which the customer had the last word, and those in which a person answers, are found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0018_waiting"
down_revision = "0017_exports"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_conversations_waiting": "last_inbound_at >= last_message_at",
    "ix_conversations_human": "human_since IS NOT NULL",
}


def upgrade() -> None:
    for name, condition in _INDEXES.items():
        columns = ["workspace_id", "last_message_at", "id"]
        op.create_index(name, "conversations", columns, postgresql_where=sa.text(condition))


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, "conversations")
