"""Tables of conversations: raw webhook events, messages both ways, and every status a provider reported."""

import uuid
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, Texts, state_check


class EventState(StrEnum):
    """What became of a webhook request."""

    RECEIVED = "received"
    DONE = "done"
    QUARANTINED = "quarantined"


class InboundEvent(Base):
    """A webhook request as it came: bytes, as JSON types refuse some legal JSON. Partitioned by day, dropped by age."""

    __tablename__ = "inbound_events"

    id: Mapped[Id]
    received_at: Mapped[CreatedAt]
    provider: Mapped[str]
    body: Mapped[bytes]
    # Names of the secrets that fit the signature; a change for a channel that has none of them is not believed.
    signed_by: Mapped[Texts]
    state: Mapped[EventState] = mapped_column(Choice(EventState), server_default=EventState.RECEIVED)
    problem: Mapped[str | None]
    workspace_id: Mapped[uuid.UUID | None]

    __table_args__ = (
        state_check("state", EventState),
        sa.Index("ix_inbound_events_open", "id", postgresql_where=sa.text("state <> 'done'")),
        {"postgresql_partition_by": "RANGE (id)"},
    )


class AccountUpdate(Base):
    """What a provider says about the account rather than a conversation: templates, quality, restrictions."""

    __tablename__ = "account_updates"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    channel_id: Mapped[uuid.UUID | None]
    event_id: Mapped[uuid.UUID]
    field: Mapped[str]
    digest: Mapped[str]
    value: Mapped[Any] = mapped_column(JSON)
    occurred_at: Mapped[Moment]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        # The same update comes again with every retry of its webhook.
        sa.UniqueConstraint("workspace_id", "field", "digest"),
        sa.Index("ix_account_updates_workspace_id", "workspace_id", "id"),
    )


class Conversation(Base):
    """All that was said with one contact (or in one group) on one channel."""

    __tablename__ = "conversations"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    channel_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("channels.id", ondelete="CASCADE"))
    contact_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("contacts.id", ondelete="CASCADE"))
    group_id: Mapped[str | None]
    # The customer's last word: the 24-hour window counts from it.
    last_inbound_at: Mapped[Moment | None]
    last_message_at: Mapped[Moment | None]
    # Since when a person answers here: nothing automatic is sent meanwhile.
    human_since: Mapped[Moment | None]
    human_by: Mapped[str | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.CheckConstraint("(contact_id IS NULL) <> (group_id IS NULL)", name="with"),
        sa.Index("uq_conversations_contact", "channel_id", "contact_id", unique=True),
        sa.Index("uq_conversations_group", "channel_id", "group_id", unique=True),
        sa.Index("ix_conversations_recent", "workspace_id", "last_message_at", "id"),
        sa.Index("ix_conversations_contact_id", "contact_id"),
        # In which the customer had the last word, and in which a person answers: few of very many.
        sa.Index(
            "ix_conversations_waiting",
            "workspace_id",
            "last_message_at",
            "id",
            postgresql_where=sa.text("last_inbound_at >= last_message_at"),
        ),
        sa.Index(
            "ix_conversations_human",
            "workspace_id",
            "last_message_at",
            "id",
            postgresql_where=sa.text("human_since IS NOT NULL"),
        ),
    )


class Direction(StrEnum):
    """Whose words: `in` the customer's, `out` ours."""

    IN = "in"
    OUT = "out"


class Category(StrEnum):
    """What a message is for; WhatsApp's names, used on every channel. `service` answers what a customer asked."""

    MARKETING = "marketing"
    UTILITY = "utility"
    AUTHENTICATION = "authentication"
    SERVICE = "service"


class MessageState(StrEnum):
    """One list of states for messages and, in campaigns, for recipients."""

    RECEIVED = "received"
    PLANNED = "planned"
    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


# How far a provider says a message has come; a status is believed only if it is further than what is known. A failure
# reported after a delivery (to another device) does not undo it.
RANK = {
    MessageState.ACCEPTED: 1,
    MessageState.SENT: 2,
    MessageState.FAILED: 3,
    MessageState.DELIVERED: 4,
    MessageState.READ: 5,
    MessageState.PLAYED: 6,
}


# The content of a message whose words were taken out with everything else of its person.
ERASED = {"erased": True}


class Message(Base):
    """One message of a conversation. Reactions, edits and deletions are rows too: they say what they target."""

    __tablename__ = "messages"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    # No foreign key: every message of a business would lock the same row.
    channel_id: Mapped[uuid.UUID]
    conversation_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("conversations.id", ondelete="CASCADE"))
    contact_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("contacts.id", ondelete="SET NULL"))
    direction: Mapped[Direction] = mapped_column(Choice(Direction))
    state: Mapped[MessageState] = mapped_column(Choice(MessageState))
    type: Mapped[str]
    # The provider's object for this type, such as {"body": …} of a text.
    content: Mapped[Json]
    # What a person reads in a list: the body, the caption, the title of the button.
    text: Mapped[str | None]
    # `customer`, `api`, `ai`, `agent` and the like.
    author: Mapped[str]
    occurred_at: Mapped[Moment]
    created_at: Mapped[CreatedAt]

    provider_id: Mapped[str | None]
    context_provider_id: Mapped[str | None]
    target_provider_id: Mapped[str | None]
    answer_id: Mapped[uuid.UUID | None]
    event_id: Mapped[uuid.UUID | None]
    trace_id: Mapped[uuid.UUID | None]
    # What a provider sent; of a test of ours what was said on the way out.
    raw: Mapped[Any | None] = mapped_column(JSON)
    # The file of a picture, a sound or the like. No foreign key: files go earlier than what was said about them.
    media_id: Mapped[uuid.UUID | None]

    # What was asked for beside the words: what it is for, not before when, and what instead if it cannot be
    # (`template` outside the window, `channels` on a definite refusal); `fallback_of` is the message it stands in for.
    category: Mapped[Category] = mapped_column(Choice(Category), server_default=Category.SERVICE)
    scheduled_for: Mapped[Moment | None]
    fallback: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    fallback_of: Mapped[uuid.UUID | None]
    # Parts that an SMS has, and what the message costs by the workspace's prices, in millionths of its currency.
    parts: Mapped[int | None] = mapped_column(sa.SmallInteger)
    cost: Mapped[int | None] = mapped_column(sa.BigInteger)
    # What the last look found against sending it, or sending it now.
    gates: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)

    # Sending: which job and which claim of it, how it went, when each status was reached.
    job_id: Mapped[uuid.UUID | None]
    claim_no: Mapped[int | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    accepted_at: Mapped[Moment | None]
    sent_at: Mapped[Moment | None]
    delivered_at: Mapped[Moment | None]
    read_at: Mapped[Moment | None]
    played_at: Mapped[Moment | None]
    failed_at: Mapped[Moment | None]

    __table_args__ = (
        state_check("direction", Direction),
        state_check("state", MessageState),
        state_check("category", Category),
        sa.Index("uq_messages_provider_id", "channel_id", "provider_id", unique=True),
        sa.Index("ix_messages_history", "conversation_id", "occurred_at", "id"),
        # All of one person, also in groups: for who is removed or erased.
        sa.Index("ix_messages_contact_id", "contact_id", "id", postgresql_where=sa.text("contact_id IS NOT NULL")),
        sa.Index(
            "ix_messages_target",
            "channel_id",
            "target_provider_id",
            postgresql_where=sa.text("target_provider_id IS NOT NULL"),
        ),
        sa.Index("ix_messages_media_id", "media_id", postgresql_where=sa.text("media_id IS NOT NULL")),
        sa.Index(
            "ix_messages_open",
            "state",
            "id",
            postgresql_where=sa.text("state IN ('planned', 'queued', 'sending', 'unknown')"),
        ),
        sa.Index("ix_messages_trace_id", "trace_id", postgresql_where=sa.text("trace_id IS NOT NULL")),
        sa.Index(
            "ix_messages_scheduled",
            "workspace_id",
            "scheduled_for",
            "id",
            postgresql_where=sa.text("state = 'queued' AND scheduled_for IS NOT NULL"),
        ),
        sa.Index(
            "ix_messages_marketing",
            "contact_id",
            "occurred_at",
            postgresql_where=sa.text("direction = 'out' AND category = 'marketing'"),
        ),
        sa.Index(
            "ix_messages_cost",
            "workspace_id",
            "accepted_at",
            postgresql_include=["cost"],
            postgresql_where=sa.text("cost IS NOT NULL"),
        ),
    )


class StatusEvent(Base):
    """One status as a provider reported it. Without `message_id` it waits for its message. Partitioned by month."""

    __tablename__ = "status_events"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    channel_id: Mapped[uuid.UUID]
    message_id: Mapped[uuid.UUID | None]
    provider_id: Mapped[str]
    status: Mapped[str]
    recipient: Mapped[str]
    occurred_at: Mapped[Moment]
    created_at: Mapped[CreatedAt]
    event_id: Mapped[uuid.UUID | None]
    detail: Mapped[Json]

    __table_args__ = (
        sa.Index("ix_status_events_provider_id", "provider_id"),
        sa.Index("ix_status_events_message_id", "message_id"),
        sa.Index(
            "ix_status_events_parked",
            "channel_id",
            "provider_id",
            postgresql_where=sa.text("message_id IS NULL"),
        ),
        {"postgresql_partition_by": "RANGE (id)"},
    )
