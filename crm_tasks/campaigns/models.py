"""Tables of campaigns and their recipients."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, state_check
from crm_tasks.messages.models import MessageState


class CampaignState(StrEnum):
    """How far a campaign is."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    FINISHED = "finished"
    CANCELLED = "cancelled"


# The only ways from state to state. Whoever retries the failed lets a finished campaign run again.
TRANSITIONS: dict[CampaignState, frozenset[CampaignState]] = {
    CampaignState.DRAFT: frozenset({CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.CANCELLED}),
    CampaignState.SCHEDULED: frozenset({CampaignState.DRAFT, CampaignState.RUNNING, CampaignState.CANCELLED}),
    CampaignState.RUNNING: frozenset(
        {CampaignState.PAUSED, CampaignState.HALTED, CampaignState.FINISHED, CampaignState.CANCELLED}
    ),
    CampaignState.PAUSED: frozenset({CampaignState.RUNNING, CampaignState.CANCELLED}),
    CampaignState.HALTED: frozenset({CampaignState.RUNNING, CampaignState.CANCELLED}),
    CampaignState.FINISHED: frozenset({CampaignState.RUNNING}),
    CampaignState.CANCELLED: frozenset(),
}
# In which nothing has been sent yet: the message, the audience and the plan may still change.
BEFORE = (CampaignState.DRAFT, CampaignState.SCHEDULED)
# The id before those of all contacts: recipients are planned, and so placed, in the order of their contacts' ids.
BEFORE_FIRST = uuid.UUID(int=0)

# What a recipient is before it has a message, and what it stays if it never gets one.
_WITHOUT_MESSAGE = (MessageState.PLANNED, MessageState.SUPPRESSED, MessageState.FAILED, MessageState.CANCELLED)


class Campaign(Base):
    """One message to many."""

    __tablename__ = "campaigns"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str]
    channel_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("channels.id", ondelete="CASCADE"))
    # `type`, the object of that type with places such as {{city|there}}, and the `category`.
    message: Mapped[Json]
    audience: Mapped[Json]
    state: Mapped[CampaignState] = mapped_column(Choice(CampaignState), server_default=CampaignState.DRAFT)
    # When it starts; the zone is kept as people gave it, the moment is absolute.
    scheduled_for: Mapped[Moment | None]
    time_zone: Mapped[str | None]
    guards: Mapped[Json]
    # The most that it may cost and what was reserved of it so far, in millionths of the currency of the prices.
    budget: Mapped[int | None] = mapped_column(sa.BigInteger)
    spent: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    # What the next message would have cost, if the rest was not enough for it.
    budget_asked: Mapped[int | None] = mapped_column(sa.BigInteger)

    # How far the plan is: up to which contact, how many recipients; complete since.
    plan_cursor: Mapped[uuid.UUID | None]
    audience_total: Mapped[int] = mapped_column(server_default="0")
    planned_at: Mapped[Moment | None]
    # The forecast: asked for since, how many were looked at, up to which contact, what was counted until there; what it
    # says.
    rehearse_since: Mapped[Moment | None]
    rehearse_cursor: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    rehearse_after: Mapped[uuid.UUID | None]
    rehearse_sums: Mapped[Json]
    rehearsal: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    rehearsed_at: Mapped[Moment | None]

    # The hold that stops it, and why a guard placed it: rule, value, limit.
    hold_id: Mapped[uuid.UUID | None]
    halted_by: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # What guards look at is younger than this: who lets a halted campaign go on has seen what was before.
    guards_since: Mapped[Moment | None]
    # Since when all of the canary was drawn, and since when the rest may follow.
    canary_drawn_at: Mapped[Moment | None]
    canary_passed_at: Mapped[Moment | None]

    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]
    trace_id: Mapped[uuid.UUID | None]

    __table_args__ = (
        state_check("state", CampaignState),
        sa.CheckConstraint("budget IS NULL OR budget >= 0", name="budget"),
        # A halt and a pause are holds: they act wherever jobs are claimed.
        sa.CheckConstraint("(state IN ('paused', 'halted')) = (hold_id IS NOT NULL)", name="hold"),
        sa.CheckConstraint("(state = 'halted') = (halted_by IS NOT NULL)", name="halted"),
        sa.Index("ix_campaigns_workspace_id", "workspace_id", "id"),
        sa.Index("ix_campaigns_running", "id", postgresql_where=sa.text("state = 'running'")),
    )

    @property
    def scope(self) -> str:
        """The scope by which it is held."""
        return f"campaign:{self.id}"

    @property
    def type(self) -> str:
        """The type of its message."""
        return self.message["type"]

    @property
    def content(self) -> dict[str, Any]:
        """The object of its message, with places."""
        found = self.message[self.type]
        return {self.type: found} if isinstance(found, list) else found

    @property
    def guards_start(self) -> datetime | None:
        """From when on guards look."""
        return self.guards_since or self.started_at


class Recipient(Base):
    """One person of a campaign. Its state counts only until it has a message: from then on the message's does."""

    __tablename__ = "recipients"

    # No foreign keys: to check one for each of 100,000 rows would double the time of planning, and the sum of a
    # campaign must not change when somebody is deleted.
    campaign_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    contact_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[uuid.UUID]
    # Its place in the campaign, from 1 on: pumps and the canary go by it.
    position: Mapped[int] = mapped_column(sa.BigInteger)
    state: Mapped[MessageState] = mapped_column(Choice(MessageState), server_default=MessageState.PLANNED)
    # What the rehearsal said would become of it.
    forecast: Mapped[str | None]
    # Why it has no message: the finding, as the last look kept it.
    reason: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    message_id: Mapped[uuid.UUID | None]

    __table_args__ = (
        state_check("state", MessageState),
        sa.CheckConstraint(
            f"message_id IS NOT NULL OR state IN ({', '.join(repr(str(state)) for state in _WITHOUT_MESSAGE)})",
            name="without_message",
        ),
        sa.Index(
            "uq_recipients_message_id",
            "campaign_id",
            "message_id",
            unique=True,
            postgresql_where=sa.text("message_id IS NOT NULL"),
        ),
        sa.Index(
            "ix_recipients_planned",
            "campaign_id",
            "position",
            postgresql_where=sa.text("state = 'planned' AND message_id IS NULL"),
        ),
    )
