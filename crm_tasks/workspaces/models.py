"""Tables of the tenants. Every row elsewhere that belongs to one carries its `workspace_id`."""

import uuid
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crm_tasks.core.crypto import Encrypted
from crm_tasks.core.db import Base, now
from crm_tasks.core.types import Choice, CreatedAt, Id, Json, Moment, Texts, state_check
from crm_tasks.workspaces.roles import OPERATOR, MemberRole


class Workspace(Base):
    """One business."""

    __tablename__ = "workspaces"

    id: Mapped[Id]
    name: Mapped[str]
    # ISO 3166 alpha-2: how a phone number without a country is read.
    region: Mapped[str] = mapped_column(sa.Text, server_default="US")
    # Since when customers are answered by the language model; not at all if there is no moment.
    auto_reply_since: Mapped[Moment | None]
    auto_reply_prompt: Mapped[str | None]
    # How large a share of the workers it gets while others have work too: 2 is twice that of 1.
    weight: Mapped[int] = mapped_column(sa.SmallInteger, server_default="1")
    # What the addresses of erased people who had opted out are hashed with; none until somebody is erased.
    suppression_key: Mapped[str | None] = mapped_column(Encrypted)
    created_at: Mapped[CreatedAt]

    __table_args__ = (sa.CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),)


class UnknownPolicy(StrEnum):
    """What happens to a send whose outcome nobody knows: wait for a person, or send again."""

    HOLD = "hold"
    RESEND = "resend"


class Channel(Base):
    """A way to reach customers: for WhatsApp one business phone number. `kind` names its provider."""

    __tablename__ = "channels"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    name: Mapped[str]
    # Where the provider is, if not where it always is.
    base_url: Mapped[str] = mapped_column(server_default="")
    # What a channel of its kind needs beside these and is no secret; limits, such as `per_second`, are here too.
    settings: Mapped[Json]
    api_version: Mapped[str | None]
    phone_number_id: Mapped[str | None]
    waba_id: Mapped[str | None]
    display_phone_number: Mapped[str | None]
    # The secrets that its provider needs; app_secrets (newest first) are two while one is exchanged.
    credentials: Mapped[dict[str, Any]] = mapped_column(Encrypted)
    # When they were last changed: the newer ones win when they are restored.
    credentials_at: Mapped[CreatedAt]
    # Names of the app secrets, so that an event can say which one signed it.
    signed_by: Mapped[Texts]
    unknown_policy: Mapped[UnknownPolicy] = mapped_column(Choice(UnknownPolicy), server_default=UnknownPolicy.HOLD)
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        state_check("unknown_policy", UnknownPolicy),
        sa.UniqueConstraint("kind", "phone_number_id"),
        sa.Index("ix_channels_waba_id", "waba_id"),
    )


@sa.event.listens_for(Channel, "before_update")
def _date_credentials(_mapper: Any, _connection: Any, changed: Channel) -> None:
    if sa.inspect(changed).attrs.credentials.history.has_changes():
        changed.credentials_at = now()  # an expression, until it is written


class Policy(Base):
    """A rule of a workspace about its messages, such as quiet hours, and who set it."""

    __tablename__ = "policies"

    workspace_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Json]
    set_by: Mapped[str]
    set_at: Mapped[CreatedAt]


class ApiKey(Base):
    """A key of the REST API. Only its digest is kept; the prefix tells people which one it is."""

    __tablename__ = "api_keys"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    operator: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    created_at: Mapped[CreatedAt]
    revoked_at: Mapped[Moment | None]


class Role(Base):
    """What a user is to the whole system, as Flask-Security reads it: an operator, or nothing."""

    __tablename__ = "roles"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str | None]
    permissions: Mapped[Texts]

    def get_permissions(self) -> set[str]:
        """Return the permissions; Flask-Security asks for them at each request."""
        return set(self.permissions)


user_roles = sa.Table(
    "user_roles",
    Base.metadata,
    sa.Column("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("role_id", sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
)


class User(Base):
    """A person who logs in. The password is an argon2 hash; the columns are those that Flask-Security reads."""

    __tablename__ = "users"

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=sa.text("true"))
    fs_uniquifier: Mapped[str] = mapped_column(unique=True)
    # In which times are shown to this person.
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    created_at: Mapped[CreatedAt]

    roles: Mapped[list[Role]] = relationship(secondary=user_roles, lazy="selectin")

    @property
    def operator(self) -> bool:
        """Whether this person runs the system, and so sees every workspace."""
        return any(role.name == OPERATOR for role in self.roles)


class Membership(Base):
    """A person in a workspace, and what that person is there."""

    __tablename__ = "memberships"

    workspace_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[MemberRole] = mapped_column(Choice(MemberRole))
    created_at: Mapped[CreatedAt]

    __table_args__ = (state_check("role", MemberRole), sa.Index("ix_memberships_user_id", "user_id"))


class Invitation(Base):
    """A link by which somebody joins a workspace, once. Only its digest is kept."""

    __tablename__ = "invitations"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    email: Mapped[str]
    role: Mapped[MemberRole] = mapped_column(Choice(MemberRole))
    digest: Mapped[bytes] = mapped_column(unique=True)
    invited_by: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    # Used, or taken back.
    ended_at: Mapped[Moment | None]

    __table_args__ = (state_check("role", MemberRole),)


class LoginAttempts(Base):
    """How often somebody tried to log in lately: one row per account and per network address, as a digest."""

    __tablename__ = "login_attempts"

    key: Mapped[bytes] = mapped_column(primary_key=True)
    attempts: Mapped[int]
    since: Mapped[Moment]

    __table_args__ = (sa.Index("ix_login_attempts_since", "since"),)


class AuditEvent(Base):
    """One change that somebody made: who, what, to what. Written in the transaction that made it."""

    __tablename__ = "audit_events"

    id: Mapped[Id]
    # No foreign key: every change of a business would lock the same row, and what was done outlives it.
    workspace_id: Mapped[uuid.UUID | None]
    actor: Mapped[str]
    action: Mapped[str]
    # The id of what was changed, where it has one.
    subject: Mapped[str] = mapped_column(server_default="")
    detail: Mapped[Json]
    at: Mapped[CreatedAt]

    __table_args__ = (sa.Index("ix_audit_events_workspace_id", "workspace_id", "id"),)
