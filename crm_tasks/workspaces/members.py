"""Who belongs to a workspace, and as what. Each keeps an owner; only owners (and operators) make and unmake owners."""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from crm_tasks.core.log import get_logger
from crm_tasks.workspaces import audit
from crm_tasks.workspaces.models import Membership, User, Workspace
from crm_tasks.workspaces.roles import MemberRole, Permission

log = get_logger(__name__)

MOST = 500


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace that somebody can work in; an operator needs no role for that."""

    workspace_id: uuid.UUID
    name: str
    role: MemberRole | None


def places(session: Session, user_id: uuid.UUID, *, operator: bool) -> list[Place]:
    """Return the workspaces of a person by name; an operator's are all (at most 500)."""
    query = (
        sa.select(Workspace.id, Workspace.name, Membership.role)
        .join(
            Membership,
            sa.and_(Membership.workspace_id == Workspace.id, Membership.user_id == user_id),
            isouter=operator,
        )
        .order_by(Workspace.name, Workspace.id)
        .limit(MOST)
    )
    return [Place(*row) for row in session.execute(query)]


def add(session: Session, workspace_id: uuid.UUID, user_id: uuid.UUID, role: MemberRole) -> None:
    """Let a person in, or give one that is in another role."""
    statement = insert(Membership).values(workspace_id=workspace_id, user_id=user_id, role=role)
    session.execute(statement.on_conflict_do_update(index_elements=["workspace_id", "user_id"], set_={"role": role}))


def listed(session: Session, workspace_id: uuid.UUID) -> list[tuple[User, Membership]]:
    """Return the people of a workspace by address."""
    query = (
        sa.select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.workspace_id == workspace_id)
        .order_by(User.email)
    )
    return [(user, membership) for user, membership in session.execute(query)]


def roles_of(session: Session, user_ids: list[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """Return what people are where, in words."""
    query = (
        sa.select(Membership.user_id, Membership.role, Workspace.name)
        .join(Workspace, Workspace.id == Membership.workspace_id)
        .where(Membership.user_id.in_(user_ids))
        .order_by(Workspace.name)
    )
    found: dict[uuid.UUID, list[str]] = {}
    for user_id, role, name in session.execute(query):
        found.setdefault(user_id, []).append(f"{role} of {name}")
    return found


def change_role(
    session: Session,
    workspace_id: uuid.UUID,
    user_id: uuid.UUID,
    role: MemberRole,
    *,
    may: frozenset[Permission],
) -> None:
    """Give a person of the workspace another role.

    Raises:
        NotFound: not of this workspace. Forbidden: it concerns an owner. Conflict: it would leave none.
    """
    membership = _locked(session, workspace_id, user_id)
    allow(role, may)
    allow(membership.role, may)
    if membership.role is MemberRole.OWNER and role is not MemberRole.OWNER:
        _keep_one(session, workspace_id)
    audit.note(session, before=str(membership.role), after=str(role))
    membership.role = role


def remove(session: Session, workspace_id: uuid.UUID, user_id: uuid.UUID, *, may: frozenset[Permission]) -> None:
    """Let a person see a workspace no more; from the next request on.

    Raises:
        NotFound: not of this workspace. Forbidden: it concerns an owner. Conflict: it would leave none.
    """
    membership = _locked(session, workspace_id, user_id)
    allow(membership.role, may)
    if membership.role is MemberRole.OWNER:
        _keep_one(session, workspace_id)
    audit.note(session, before=str(membership.role))
    session.delete(membership)


def role_named(name: str) -> MemberRole:
    """Return a role.

    Raises:
        Invalid: there is none of this name.
    """
    try:
        return MemberRole(name)
    except ValueError:
        error = FieldError("role", f"Use one of: {', '.join(MemberRole)}.")
        raise Invalid(f"There is no role {name!r}.", hint=error.message, fields=[error]) from None


def allow(role: MemberRole, may: frozenset[Permission]) -> None:
    """Refuse what concerns owners to who is none.

    Raises:
        Forbidden: says so.
    """
    if role is MemberRole.OWNER and Permission.OWN not in may:
        raise Forbidden("Only an owner can change owners.", code="owner_only", hint="Ask an owner of this workspace.")


def _locked(session: Session, workspace_id: uuid.UUID, user_id: uuid.UUID) -> Membership:
    """Return a membership, with all owners locked in one order: two of them cannot remove each other at once."""
    mine = sa.or_(Membership.user_id == user_id, Membership.role == MemberRole.OWNER)
    query = sa.select(Membership).where(Membership.workspace_id == workspace_id, mine).order_by(Membership.user_id)
    query = query.with_for_update().execution_options(populate_existing=True)
    for found in session.scalars(query).all():
        if found.user_id == user_id:
            return found
    raise NotFound("There is no such person in this workspace.", code="member_not_found")


def _keep_one(session: Session, workspace_id: uuid.UUID) -> None:
    owners = sa.select(sa.func.count()).select_from(Membership)
    owners = owners.where(Membership.workspace_id == workspace_id, Membership.role == MemberRole.OWNER)
    if session.scalar(owners) == 1:
        raise Conflict(
            "A workspace keeps an owner.", code="last_owner", hint="Make somebody else an owner of it first."
        )
