"""Tables of outgoing webhooks: endpoints, the events that somebody wanted, their deliveries and every attempt."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.crypto import Encrypted
from crm_tasks.core.db import Base, now
from crm_tasks.core.types import Choice, CreatedAt, Id, Moment, Texts, state_check


class EventType(StrEnum):
    """What can be told. docs/howto/verify-webhooks.md describes the body of each."""

    MESSAGE_RECEIVED = "message.received"
    MESSAGE_STATUS = "message.status"
    CONVERSATION_UPDATED = "conversation.updated"
    CAMPAIGN_FINISHED = "campaign.finished"
    CONTACT_OPTED_OUT = "contact.opted_out"
    IMPORT_FINISHED = "import.finished"
    EXPORT_FINISHED = "export.finished"
    TEMPLATE_UPDATED = "template.updated"
    CHANNEL_STOPPED = "channel.stopped"
    WEBHOOK_TEST = "webhook.test"


# The filter of an endpoint that wants every type, also those to come.
EVERYTHING = "*"


class EndpointState(StrEnum):
    """Whether an endpoint is told anything."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class Endpoint(Base):
    """An address of the business that wants to be told."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    url: Mapped[str]
    description: Mapped[str] = mapped_column(sa.Text, server_default="")
    events: Mapped[Texts]
    state: Mapped[EndpointState] = mapped_column(Choice(EndpointState), server_default=EndpointState.ENABLED)
    state_since: Mapped[Moment] = mapped_column(server_default=now())
    disabled_reason: Mapped[str | None]
    # Since when it wants what it wants now: what was published before is not missing.
    wants_since: Mapped[Moment] = mapped_column(server_default=now())

    secret: Mapped[str] = mapped_column(Encrypted)
    previous_secret: Mapped[str | None] = mapped_column(Encrypted)
    previous_secret_until: Mapped[Moment | None]
    hub_signature: Mapped[bool] = mapped_column(server_default=sa.text("false"))

    rate: Mapped[int] = mapped_column(server_default="10")
    concurrency: Mapped[int] = mapped_column(server_default="5")
    # How it fares: failures in a row, since when there was nothing else, and until when it is left alone.
    failures: Mapped[int] = mapped_column(server_default="0")
    failing_since: Mapped[Moment | None]
    rests_until: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        state_check("state", EndpointState),
        sa.Index("ix_webhook_endpoints_workspace_id", "workspace_id", "id"),
    )


class Event(Base):
    """Something that happened and that at least one endpoint wanted to know: the very bytes that are signed."""

    __tablename__ = "webhook_events"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    type: Mapped[str]
    body: Mapped[bytes]
    created_at: Mapped[CreatedAt]

    __table_args__ = (sa.Index("ix_webhook_events_workspace_id", "workspace_id", "id"),)


class DeliveryState(StrEnum):
    """What became of an event on its way to one endpoint."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Delivery(Base):
    """An event on its way to one endpoint."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    # No foreign key: every delivery would lock the row of its endpoint.
    endpoint_id: Mapped[uuid.UUID]
    event_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("webhook_events.id", ondelete="CASCADE"))
    state: Mapped[DeliveryState] = mapped_column(Choice(DeliveryState), server_default=DeliveryState.PENDING)
    job_id: Mapped[uuid.UUID | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    # Until when a request of it may be under way: what counts against the endpoint's concurrency.
    under_way_until: Mapped[Moment | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        state_check("state", DeliveryState),
        sa.UniqueConstraint("event_id", "endpoint_id"),
        sa.Index("ix_webhook_deliveries_endpoint_id", "endpoint_id", "id"),
        sa.Index("ix_webhook_deliveries_pending", "endpoint_id", "id", postgresql_where=sa.text("state = 'pending'")),
        sa.Index(
            "ix_webhook_deliveries_under_way",
            "endpoint_id",
            postgresql_where=sa.text("under_way_until IS NOT NULL"),
        ),
    )


class Attempt(Base):
    """One request of a delivery and what came of it."""

    __tablename__ = "webhook_attempts"

    id: Mapped[Id]
    delivery_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), index=True
    )
    at: Mapped[CreatedAt]
    status: Mapped[int | None]
    latency_ms: Mapped[int]
    excerpt: Mapped[str | None]
    error: Mapped[str | None]
