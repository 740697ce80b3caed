"""The people of a workspace: invited by a link that works once, given roles, removed."""

import uuid
from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_security import current_user

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.workspaces import invitations, members, service
from crm_tasks.workspaces.roles import DESCRIPTIONS
from webapp.admin import blueprint
from webapp.admin.access import here


@blueprint.get("/people")
def people() -> str:
    """List who is in the workspace, and who is invited."""
    return _page()


@blueprint.post("/people/invitations")
def invite() -> ResponseReturnValue:
    """Make an invitation and show its link, this once."""
    form, me = request.form, here()
    try:
        with db.transaction() as session:
            role = members.role_named(form.get("role", ""))
            made, link = invitations.invite(
                session, me.workspace_id, form.get("email", ""), role, actor=me.actor, may=me.permissions
            )
    except DomainError as error:
        return _page(problem=f"{error.message} {error.hint}"), 422
    return _page(invited=made.email, link=link)


@blueprint.post("/people/invitations/<uuid:invitation_id>/take-back")
def take_back(invitation_id: uuid.UUID) -> ResponseReturnValue:
    """End an invitation."""
    with db.transaction() as session:
        invitations.take_back(session, here().workspace_id, invitation_id)
    return redirect(url_for("admin.people"))


@blueprint.post("/people/<uuid:user_id>/role")
def change_role(user_id: uuid.UUID) -> ResponseReturnValue:
    """Give somebody another role."""
    me = here()
    try:
        with db.transaction() as session:
            role = members.role_named(request.form.get("role", ""))
            members.change_role(session, me.workspace_id, user_id, role, may=me.permissions)
    except DomainError as error:
        return _refused(error)
    return redirect(url_for("admin.people"))


@blueprint.post("/people/<uuid:user_id>/remove")
def remove_member(user_id: uuid.UUID) -> ResponseReturnValue:
    """Let somebody see this workspace no more."""
    me = here()
    try:
        with db.transaction() as session:
            members.remove(session, me.workspace_id, user_id, may=me.permissions)
    except DomainError as error:
        return _refused(error)
    return redirect(url_for("admin.people"))


@blueprint.get("/join/<token>")
def join(token: str) -> str:
    """Show an invitation to whom has its link."""
    return _invitation(token)


@blueprint.post("/join/<token>")
def accept(token: str) -> ResponseReturnValue:
    """Join the workspace; a new person sets a password."""
    known = current_user.id if current_user.is_authenticated else None
    try:
        with db.transaction() as session:
            invitations.accept(session, token, password=request.form.get("password"), user_id=known)
    except NotFound:
        raise
    except DomainError as error:
        return _invitation(token, f"{error.message} {error.hint}"), 422
    return redirect(url_for("admin.index"))


def _refused(error: DomainError) -> ResponseReturnValue:
    if isinstance(error, NotFound):
        raise error
    return _page(problem=f"{error.message} {error.hint}"), 409


def _page(**more: Any) -> str:
    me = here()
    with db.transaction() as session:
        inside = members.listed(session, me.workspace_id)
        invited = invitations.waiting(session, me.workspace_id)
    return render_template("admin/people.html", inside=inside, waiting=invited, roles=DESCRIPTIONS, **more)


def _invitation(token: str, problem: str = "") -> str:
    with db.transaction() as session:
        invitation, user = invitations.found(session, token)
        workspace = service.get(session, invitation.workspace_id)
    mine = user is not None and current_user.is_authenticated and current_user.id == user.id
    return render_template(
        "admin/join.html", invitation=invitation, workspace=workspace, user=user, mine=mine, problem=problem
    )
