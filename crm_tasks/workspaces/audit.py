"""Who changed what. A door says who acts (`begin`); the row is written in the transaction that makes the change.

A request that changed nothing leaves no row, and one that failed leaves none either: whether a transaction wrote is
Postgres's own answer. What a person typed is not kept, only names and ids; services add what is worth it (`note`).
"""

import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.types import new_id
from crm_tasks.workspaces.models import AuditEvent

_NOTES, _WRITTEN = "audit_notes", "audit_written"


@dataclass(slots=True)
class Act:
    """What somebody is about to do."""

    actor: str
    action: str
    workspace_id: uuid.UUID | None
    subject: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    # One row for a request, also when it changes things in batches.
    written: bool = False


_current: ContextVar[Act | None] = ContextVar("audit_act", default=None)


def begin(act: Act) -> None:
    """Record what is changed from now on, until `end`."""
    _current.set(act)


def end() -> None:
    """Record no more."""
    _current.set(None)


def note(session: Session, **detail: Any) -> None:
    """Add to what is recorded of this transaction. No secrets."""
    session.info.setdefault(_NOTES, {}).update(detail)


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    workspace_id: uuid.UUID | None,
    subject: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record something that no door has begun, such as a login."""
    session.add(
        AuditEvent(actor=actor, action=action, workspace_id=workspace_id, subject=subject, detail=dict(detail or {}))
    )


def listed(
    session: Session,
    workspace_id: uuid.UUID | None,
    *,
    actor: str = "",
    action: str = "",
    subject: str = "",
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[AuditEvent]:
    """Return changes, the newest first: of a workspace, or all (None). Actor and action by how they begin."""
    query = sa.select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
    if workspace_id is not None:
        query = query.where(AuditEvent.workspace_id == workspace_id)
    if actor:
        query = query.where(AuditEvent.actor.startswith(actor, autoescape=True))
    if action:
        query = query.where(AuditEvent.action.startswith(action, autoescape=True))
    if subject:
        query = query.where(AuditEvent.subject == subject)
    return list(session.scalars(query.where(AuditEvent.id < before) if before else query))


@sa.event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    act = _current.get()
    if act is None or act.written or session.in_nested_transaction():
        return
    session.flush()  # only what has reached Postgres has made it a transaction that writes
    values = {
        "id": new_id(),
        "workspace_id": act.workspace_id,
        "actor": act.actor,
        "action": act.action,
        "subject": act.subject,
        "detail": {**act.detail, **session.info.get(_NOTES, {})},
    }
    columns = [sa.literal(value, AuditEvent.__table__.c[name].type) for name, value in values.items()]
    wrote = sa.func.pg_current_xact_id_if_assigned(type_=sa.Text()).is_not(None)
    session.execute(sa.insert(AuditEvent).from_select(list(values), sa.select(*columns).where(wrote)))
    session.info[_WRITTEN] = True


@sa.event.listens_for(Session, "after_commit")
def _remember(session: Session) -> None:
    act = _current.get()
    if act is not None and session.info.pop(_WRITTEN, False):
        act.written = True
