"""Suspending a workspace: a hold of the operators on all of its work. What comes in is kept, and waits."""

import uuid
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import holds
from crm_tasks.core.errors import Conflict
from crm_tasks.core.jobs.model import Hold
from crm_tasks.workspaces import audit, service
from crm_tasks.workspaces.models import Workspace


def suspend(session: Session, workspace_id: uuid.UUID, *, reason: str, actor: str) -> Hold:
    """Let no work of a workspace be started, until released. Its own people cannot end that.

    Raises:
        NotFound: no such workspace. Invalid: no reason. Conflict: it is suspended already.
    """
    workspace = service.get(session, workspace_id)
    # Two at once would leave one hold behind when the other is released.
    session.execute(sa.select(Workspace.id).where(Workspace.id == workspace.id).with_for_update())
    if of(session, [workspace.id]):
        raise Conflict(f"{workspace.name} is suspended already.", code="suspended")
    audit.note(session, reason=reason.strip())
    return holds.place(session, _scope(workspace.id), reason=reason, actor=actor)


def release(session: Session, workspace_id: uuid.UUID, *, actor: str) -> int:
    """Let its work go on, and return how many holds that ended: those of operators; its own stay.

    Raises:
        NotFound: no such workspace. Conflict: it is not suspended.
    """
    workspace = service.get(session, workspace_id)
    found = [hold for hold in holds.in_force(session, [_scope(workspace.id)]) if hold.workspace_id is None]
    if not found:
        raise Conflict(f"{workspace.name} is not suspended.", code="not_suspended")
    for hold in found:
        holds.release(session, hold.id, actor=actor)
    return len(found)


def of(session: Session, workspace_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Hold]:
    """Return which of these workspaces are suspended, and by which hold."""
    scopes = {_scope(each): each for each in workspace_ids}
    found = holds.in_force(session, scopes)
    return {scopes[hold.scope]: hold for hold in found if hold.workspace_id is None}


def _scope(workspace_id: uuid.UUID) -> str:
    return f"workspace:{workspace_id}"
