"""Campaigns and their recipients."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014_campaigns"
down_revision = "0013_imports"
branch_labels = None
depends_on = None

_STATES = "'draft', 'scheduled', 'running', 'paused', 'halted', 'finished', 'cancelled'"
_MESSAGE_STATES = (
    "'received', 'planned', 'queued', 'sending', 'accepted', 'sent', 'delivered', 'read', 'played', 'failed', "
    "'suppressed', 'unknown', 'cancelled'"
)


def _moment(name: str, *, now: bool = False) -> sa.Column:
    default = sa.text("crm_now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now)


def _json(name: str, *, needed: bool = False) -> sa.Column:
    default = sa.text("'{}'") if needed else None
    return sa.Column(name, postgresql.JSONB(), server_default=default, nullable=not needed)


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        _json("message", needed=True),
        _json("audience", needed=True),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        _moment("scheduled_for"),
        sa.Column("time_zone", sa.Text(), nullable=True),
        _json("guards", needed=True),
        sa.Column("budget", sa.BigInteger(), nullable=True),
        sa.Column("spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("budget_asked", sa.BigInteger(), nullable=True),
        sa.Column("plan_cursor", sa.Uuid(), nullable=True),
        sa.Column("audience_total", sa.Integer(), server_default="0", nullable=False),
        _moment("planned_at"),
        _moment("rehearse_since"),
        sa.Column("rehearse_cursor", sa.BigInteger(), server_default="0", nullable=False),
        _json("rehearse_sums", needed=True),
        _json("rehearsal"),
        _moment("rehearsed_at"),
        sa.Column("hold_id", sa.Uuid(), nullable=True),
        _json("halted_by"),
        _moment("guards_since"),
        _moment("canary_drawn_at"),
        _moment("canary_passed_at"),
        sa.Column("created_by", sa.Text(), nullable=False),
        _moment("created_at", now=True),
        _moment("started_at"),
        _moment("finished_at"),
        sa.Column("trace_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(f"state IN ({_STATES})", name=op.f("ck_campaigns_state")),
        sa.CheckConstraint("budget IS NULL OR budget >= 0", name=op.f("ck_campaigns_budget")),
        sa.CheckConstraint("(state IN ('paused', 'halted')) = (hold_id IS NOT NULL)", name=op.f("ck_campaigns_hold")),
        sa.CheckConstraint("(state = 'halted') = (halted_by IS NOT NULL)", name=op.f("ck_campaigns_halted")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_campaigns_workspace_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=op.f("fk_campaigns_channel_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_index("ix_campaigns_workspace_id", "campaigns", ["workspace_id", "id"])
    op.create_index("ix_campaigns_running", "campaigns", ["id"], postgresql_where=sa.text("state = 'running'"))
    op.create_table(
        "recipients",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("forecast", sa.Text(), nullable=True),
        _json("reason"),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(f"state IN ({_MESSAGE_STATES})", name=op.f("ck_recipients_state")),
        sa.CheckConstraint(
            "message_id IS NOT NULL OR state IN ('planned', 'suppressed', 'failed', 'cancelled')",
            name=op.f("ck_recipients_without_message"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "contact_id", name=op.f("pk_recipients")),
    )
    op.create_index("uq_recipients_position", "recipients", ["campaign_id", "position"], unique=True)
    op.create_index(
        "uq_recipients_message_id",
        "recipients",
        ["campaign_id", "message_id"],
        unique=True,
        postgresql_where=sa.text("message_id IS NOT NULL"),
    )
    op.create_index(
        "ix_recipients_planned",
        "recipients",
        ["campaign_id", "position"],
        postgresql_where=sa.text("state = 'planned' AND message_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("recipients")
    op.drop_table("campaigns")
