"""Workspaces: which of them is at hand; for operators, made, suspended and let go on."""

import uuid
from collections.abc import Callable

from flask import redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.workspaces import audit, service, suspension
from webapp.admin import blueprint
from webapp.admin.access import here


@blueprint.get("/workspaces")
def workspaces() -> str:
    """List those that this person can work in."""
    return _page()


@blueprint.post("/workspaces")
def create_workspace() -> ResponseReturnValue:
    """Make one, and go there."""
    form = request.form
    try:
        with db.transaction() as opened:
            made = service.create(opened, form.get("name", ""), region=form.get("region") or "US")
            audit.note(opened, workspace_id=str(made.id), name=made.name)
    except DomainError as error:
        return _page(" ".join([error.message, *(field.message for field in error.fields)])), 422
    session["workspace_id"] = str(made.id)
    return redirect(url_for("admin.people"))


@blueprint.post("/workspaces/<uuid:workspace_id>/switch")
def switch(workspace_id: uuid.UUID) -> ResponseReturnValue:
    """Have another workspace at hand."""
    if workspace_id not in {place.workspace_id for place in here().places}:
        raise NotFound("There is no such workspace.", code="workspace_not_found")
    session["workspace_id"] = str(workspace_id)
    return redirect(url_for("admin.index"))


@blueprint.post("/workspaces/<uuid:workspace_id>/suspend")
def suspend(workspace_id: uuid.UUID) -> ResponseReturnValue:
    """Let none of its work be started."""
    return _try(lambda opened: suspension.suspend(opened, workspace_id, reason=_reason(), actor=here().actor))


@blueprint.post("/workspaces/<uuid:workspace_id>/release")
def release_workspace(workspace_id: uuid.UUID) -> ResponseReturnValue:
    """Let its work go on."""
    return _try(lambda opened: suspension.release(opened, workspace_id, actor=here().actor))


def _try(change: Callable[[Session], object]) -> ResponseReturnValue:
    try:
        with db.transaction() as opened:
            change(opened)
    except NotFound:
        raise
    except DomainError as error:
        return _page(f"{error.message} {error.hint}"), 409
    return redirect(url_for("admin.workspaces"))


def _reason() -> str:
    return request.form.get("reason", "")


def _page(problem: str = "") -> str:
    places = here().places
    with db.transaction() as opened:
        suspended = suspension.of(opened, [place.workspace_id for place in places])
    return render_template("admin/workspaces.html", places=places, suspended=suspended, problem=problem)
