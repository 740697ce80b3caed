"""Invitations: a link that lets one person into one workspace, once. Who has the link sets the password."""

import secrets
import uuid
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import crypto
from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.log import get_logger
from crm_tasks.workspaces import audit, members, service, users
from crm_tasks.workspaces.models import Invitation, Membership, User
from crm_tasks.workspaces.roles import MemberRole, Permission

log = get_logger(__name__)

LIVES = timedelta(days=7)


def invite(
    session: Session,
    workspace_id: uuid.UUID,
    email: str,
    role: MemberRole,
    *,
    actor: str,
    may: frozenset[Permission],
) -> tuple[Invitation, str]:
    """Make an invitation and return it with its link, which nobody can read again. One to the same address ends.

    Raises:
        Invalid: not an e-mail address. Forbidden: only owners invite owners. Conflict: that person is in already.
    """
    members.allow(role, may)
    workspace = service.get(session, workspace_id)
    email = users.checked_email(email)
    inside = sa.select(Membership.role).join(User, User.id == Membership.user_id)
    if session.scalar(inside.where(User.email == email, Membership.workspace_id == workspace.id)) is not None:
        raise Conflict(f"{email} is in this workspace already.", code="member_exists", hint="Change the role instead.")
    _end(session, workspace.id, email)
    token = secrets.token_urlsafe(32)
    invitation = Invitation(
        workspace_id=workspace.id,
        email=email,
        role=role,
        digest=crypto.digest(token),
        invited_by=actor,
        expires_at=now() + LIVES,
    )
    session.add(invitation)
    session.flush()
    session.refresh(invitation)
    audit.note(session, email=email, role=str(role))
    log.info("invitation.made", invitation_id=str(invitation.id), workspace_id=str(workspace.id))
    return invitation, f"{settings().outside_url}/admin/join/{token}"


def waiting(session: Session, workspace_id: uuid.UUID) -> list[Invitation]:
    """Return the invitations of a workspace that nobody has used yet, the newest first."""
    query = sa.select(Invitation).where(Invitation.workspace_id == workspace_id, *_open())
    return list(session.scalars(query.order_by(Invitation.id.desc())))


def take_back(session: Session, workspace_id: uuid.UUID, invitation_id: uuid.UUID) -> None:
    """End an invitation before it is used.

    Raises:
        NotFound: there is none of this id here that could be used.
    """
    query = sa.select(Invitation).where(
        Invitation.id == invitation_id, Invitation.workspace_id == workspace_id, *_open()
    )
    found = session.scalar(query.with_for_update())
    if found is None:
        raise NotFound("There is no such invitation.", code="invitation_not_found")
    found.ended_at = session.scalar(sa.select(now()))


def found(session: Session, token: str, *, lock: bool = False) -> tuple[Invitation, User | None]:
    """Return the invitation of a link, and the person if it is one that can log in already.

    Raises:
        NotFound: the link was used, is too old, or never was one.
    """
    query = sa.select(Invitation).where(Invitation.digest == crypto.digest(token[:100]), *_open())
    invitation = session.scalar(query.with_for_update() if lock else query)
    if invitation is None:
        hint = "A link works once and for seven days: ask for a new one."
        raise NotFound("This invitation cannot be used any more.", code="invitation_over", hint=hint)
    return invitation, session.scalar(sa.select(User).where(User.email == invitation.email))


def accept(session: Session, token: str, *, password: str | None, user_id: uuid.UUID | None) -> Invitation:
    """Let the person of an invitation in, and end it.

    Args:
        password: what a new person will log in with.
        user_id: who is logged in; needed if there is such a person already, as the link alone must not be enough to
            act for one.

    Raises:
        NotFound: it cannot be used. Invalid: the password is too short. Conflict: log in first.
    """
    invitation, user = found(session, token, lock=True)
    if user is None:
        user, _ = users.create(session, invitation.email, password=password or " ")
    elif user.id != user_id:
        hint = f"Log in as {invitation.email}, then open the link again."
        raise Conflict("There is such a person already.", code="log_in_first", hint=hint)
    members.add(session, invitation.workspace_id, user.id, invitation.role)
    invitation.ended_at = session.scalar(sa.select(now()))
    audit.record(
        session,
        actor=f"user:{invitation.email}",
        action="invitation.accepted",
        workspace_id=invitation.workspace_id,
        subject=str(invitation.id),
        detail={"role": str(invitation.role)},
    )
    return invitation


def _open() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return Invitation.ended_at.is_(None), Invitation.expires_at > now()


def _end(session: Session, workspace_id: uuid.UUID, email: str) -> None:
    earlier = sa.update(Invitation).where(Invitation.workspace_id == workspace_id, Invitation.email == email, *_open())
    session.execute(earlier.values(ended_at=now()).execution_options(synchronize_session=False))
