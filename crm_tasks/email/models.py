"""Tables of e-mails beside the messages themselves: templates, files, and what came back."""

import uuid
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.types import Choice, CreatedAt, Id, Moment, state_check


class EmailTemplate(Base):
    """A subject, a page and a text with places for values."""

    __tablename__ = "email_templates"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str]
    subject: Mapped[str]
    html: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[CreatedAt]
    changed_at: Mapped[CreatedAt]

    __table_args__ = (sa.UniqueConstraint("workspace_id", "name"),)


class EmailAttachment(Base):
    """A file of one message; the message's content has its name, type and size."""

    __tablename__ = "email_attachments"

    message_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, autoincrement=False)
    workspace_id: Mapped[uuid.UUID]
    data: Mapped[bytes]


class Verdict(StrEnum):
    """What a bounce or complaint says about an address."""

    BOUNCED = "bounced"
    DISABLED = "disabled"
    FULL = "full"
    COMPLAINED = "complained"


class EmailBounce(Base):
    """One word of a mail server or a reader against an address: once for each message, however often it is said."""

    __tablename__ = "email_bounces"

    id: Mapped[Id]
    workspace_id: Mapped[uuid.UUID]
    address: Mapped[str]
    verdict: Mapped[Verdict] = mapped_column(Choice(Verdict))
    message_id: Mapped[uuid.UUID]
    event_id: Mapped[uuid.UUID | None]
    detail: Mapped[str]
    occurred_at: Mapped[Moment]

    __table_args__ = (
        state_check("verdict", Verdict),
        sa.UniqueConstraint("message_id", "verdict"),
        sa.Index("ix_email_bounces_address", "workspace_id", "address", "occurred_at"),
    )
