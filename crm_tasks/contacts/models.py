"""Tables of contacts. A phone number is one identity among several and may be absent (business-scoped user ids)."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, Texts, state_check


class IdentityKind(StrEnum):
    """How a channel names a person."""

    PHONE = "phone"
    WA_ID = "wa_id"
    BSUID = "bsuid"
    PARENT_BSUID = "parent_bsuid"
    EMAIL = "email"


class Contact(Base):
    """A person."""

    __tablename__ = "contacts"

    id: Mapped[Id]
    # No foreign key: an import would lock the one workspace row once per contact.
    workspace_id: Mapped[uuid.UUID]
    name: Mapped[str | None]
    username: Mapped[str | None]
    # When the profile was last seen, so that an old event never overwrites a newer name.
    profile_at: Mapped[Moment | None]
    # Values by name; of which type each is, `attributes` says.
    attributes: Mapped[Json]
    # Lower case, each once, sorted.
    tags: Mapped[Texts]
    # The business's own id of this person.
    external_id: Mapped[str | None]
    # The user who looks after this person. No foreign key: a bulk assignment would lock the one row of that user.
    assigned_to: Mapped[uuid.UUID | None]
    # IANA name and BCP 47 tag; without a time zone the phone number's is taken.
    time_zone: Mapped[str | None]
    locale: Mapped[str | None]
    # Another contact that events show to be the same person; never merged without one's decision.
    duplicate_of: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("contacts.id", ondelete="SET NULL"))
    # Which import made it, if one did.
    import_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    # Since when nothing is left of it but its id.
    erased_at: Mapped[Moment | None]

    __table_args__ = (
        sa.Index("ix_contacts_workspace_id", "workspace_id", "id"),
        sa.Index(
            "uq_contacts_external_id",
            "workspace_id",
            "external_id",
            unique=True,
            postgresql_where=sa.text("external_id IS NOT NULL"),
        ),
        sa.Index("ix_contacts_import_id", "import_id", "id", postgresql_where=sa.text("import_id IS NOT NULL")),
        # For who removes contacts: each that goes is looked for here.
        sa.Index("ix_contacts_duplicate_of", "duplicate_of", postgresql_where=sa.text("duplicate_of IS NOT NULL")),
        sa.Index("ix_contacts_tags", "tags", postgresql_using="gin"),
        sa.Index(
            "ix_contacts_name",
            sa.func.lower(sa.text("name")).label("lower_name"),
            postgresql_using="gin",
            postgresql_ops={"lower_name": "gin_trgm_ops"},
        ),
    )


class AttributeType(StrEnum):
    """Of which type the values of an attribute are."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"


class Attribute(Base):
    """A field that a business keeps of its contacts."""

    __tablename__ = "attributes"

    workspace_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[AttributeType] = mapped_column(Choice(AttributeType))
    created_at: Mapped[CreatedAt]

    __table_args__ = (state_check("type", AttributeType),)


class Segment(Base):
    """Conditions under a name: whoever meets them is in it, from one moment to the next."""

    __tablename__ = "segments"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str]
    # As they came; `conditions` says what they may be.
    conditions: Mapped[Json]
    created_at: Mapped[CreatedAt]
    changed_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.UniqueConstraint("workspace_id", "name"),
        sa.Index("ix_segments_workspace_id", "workspace_id", "id"),
    )


class Identity(Base):
    """One name of a contact on its channels. Retired when the person gave it up; a number may then become another's."""

    __tablename__ = "identities"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    contact_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    kind: Mapped[IdentityKind] = mapped_column(Choice(IdentityKind))
    value: Mapped[str]
    created_at: Mapped[CreatedAt]
    retired_at: Mapped[Moment | None]
    # Since when and why messages by this name do not arrive; nothing once the person has written again.
    unreachable_at: Mapped[Moment | None]
    unreachable_reason: Mapped[str | None]

    __table_args__ = (
        state_check("kind", IdentityKind),
        sa.Index(
            "uq_identities_value",
            "workspace_id",
            "kind",
            "value",
            unique=True,
            postgresql_where=sa.text("retired_at IS NULL"),
        ),
        sa.Index(
            "ix_identities_retired",
            "workspace_id",
            "kind",
            "value",
            postgresql_where=sa.text("retired_at IS NOT NULL"),
        ),
        sa.Index("ix_identities_unreachable", "contact_id", postgresql_where=sa.text("unreachable_at IS NOT NULL")),
        # For who looks for a part of a number or an address.
        sa.Index(
            "ix_identities_search",
            "value",
            postgresql_using="gin",
            postgresql_ops={"value": "gin_trgm_ops"},
            postgresql_where=sa.text("kind IN ('phone', 'email') AND retired_at IS NULL"),
        ),
    )


class SuppressionScope(StrEnum):
    """What somebody does not want: marketing, or anything at all."""

    MARKETING = "marketing"
    ALL = "all"


class Suppression(Base):
    """Whether an address may be written to. The newest word of its owner counts; an import is never one."""

    __tablename__ = "suppressions"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    # `whatsapp`, `sms`, `email`, or `*` for all.
    medium: Mapped[str]
    # E.164, a business-scoped user id or an e-mail address in lower case.
    address: Mapped[str]
    scope: Mapped[SuppressionScope] = mapped_column(Choice(SuppressionScope))
    active: Mapped[bool]
    reason: Mapped[str]
    actor: Mapped[str]
    # What proves it: the message, the webhook event or the request.
    evidence: Mapped[Json]
    changed_at: Mapped[Moment]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        state_check("scope", SuppressionScope),
        sa.UniqueConstraint("workspace_id", "address", "medium", "scope"),
        sa.Index("ix_suppressions_workspace_id", "workspace_id", "id"),
    )


class ConsentEvent(Base):
    """One word of consent or refusal, as it came: the history behind a suppression."""

    __tablename__ = "consent_events"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    medium: Mapped[str]
    address: Mapped[str]
    scope: Mapped[SuppressionScope] = mapped_column(Choice(SuppressionScope))
    allowed: Mapped[bool]
    reason: Mapped[str]
    actor: Mapped[str]
    evidence: Mapped[Json]
    occurred_at: Mapped[Moment]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        state_check("scope", SuppressionScope),
        sa.Index("ix_consent_events_address", "workspace_id", "address", "id"),
    )
