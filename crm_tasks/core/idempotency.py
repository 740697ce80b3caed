"""Idempotency keys: the same key and body get the same answer; the key with another body is refused.

The key is claimed in the transaction of the effect, so that either both exist or neither.
"""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from crm_tasks.core.db import Base
from crm_tasks.core.errors import Conflict, Invalid
from crm_tasks.core.types import CreatedAt

MAX_KEY = 255


class IdempotencyKey(Base):
    """A key that a caller used, what it sent and what it was answered."""

    __tablename__ = "idempotency_keys"

    workspace_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[Any | None] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]

    __table_args__ = (sa.Index("ix_idempotency_keys_created_at", "created_at"),)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the first request with this key was answered."""

    status: int
    body: Any


def begin(session: Session, workspace_id: uuid.UUID, key: str, request: bytes) -> Answer | None:
    """Claim a key for this request; returns the earlier answer if there is one.

    A second request with the key waits for the first to commit.

    Raises:
        Conflict: the key was used for another request. Invalid: not a usable key.
    """
    if not key or len(key) > MAX_KEY or not key.isprintable():
        raise Invalid(f"Idempotency-Key must be 1 to {MAX_KEY} printable characters.", code="bad_idempotency_key")
    fingerprint = hashlib.sha256(request).hexdigest()
    statement = insert(IdempotencyKey).values(workspace_id=workspace_id, key=key, fingerprint=fingerprint)
    if session.execute(statement.on_conflict_do_nothing().returning(IdempotencyKey.key)).first():
        return None
    known = session.get_one(IdempotencyKey, (workspace_id, key))
    if known.fingerprint != fingerprint:
        raise Conflict(
            "This Idempotency-Key was used with another request.",
            code="idempotency_conflict",
            hint="Send the same body again to get the same answer, or use a new key.",
        )
    return Answer(known.status or 200, known.body)


def remember(session: Session, workspace_id: uuid.UUID, key: str, status: int, body: Any) -> None:
    """Keep the answer that belongs to a key."""
    known = session.get_one(IdempotencyKey, (workspace_id, key))
    known.status, known.body = status, body
