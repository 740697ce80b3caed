"""Templates: what the provider has approved, how each looks, and what it wants to be filled in."""

import uuid
from collections.abc import Mapping

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import NotFound
from crm_tasks.templates import service
from crm_tasks.templates.models import DELETED, Template
from crm_tasks.workspaces.models import Channel
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import asked

SHOWN = 50
STATUSES = ("APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED", DELETED)
CATEGORIES = ("marketing", "utility", "authentication")


@blueprint.get("/settings/templates")
def templates() -> str:
    """List templates by name and language."""
    wanted = asked("name", "status", "category", "language")
    with db.transaction() as session:
        found = service.listed(
            session,
            here().workspace_id,
            **{name: value or None for name, value in wanted.items()},
            after=_after(),
            limit=SHOWN + 1,
        )
    last = found[SHOWN - 1] if len(found) > SHOWN else None
    return render_template(
        "admin/templates.html",
        templates=found[:SHOWN],
        more={"after_name": last.name, "after_language": last.language, "after": last.id} if last else None,
        asked=wanted,
        statuses=STATUSES,
        categories=CATEGORIES,
    )


@blueprint.get("/settings/templates/<uuid:template_id>")
def template(template_id: uuid.UUID) -> str:
    """Show one."""
    with db.transaction() as session:
        found = service.get(session, here().workspace_id, template_id)
    laid = service.laid(found, ())
    return render_template("admin/template.html", template=found, laid=laid, medium="whatsapp")


@blueprint.post("/settings/templates/sync")
def sync_templates() -> ResponseReturnValue:
    """Have them fetched from the provider."""
    with db.transaction() as session:
        jobs = service.ask_sync_of(session, here().workspace_id)
    if len(jobs) == 1:
        return redirect(url_for("admin.job", job_id=jobs[0]))
    return redirect(url_for("admin.jobs", task="messages.sync_templates"))


def chosen(session: Session, channel: Channel, given: Mapping[str, str]) -> Template | None:
    """Return the template that was chosen in a form, if it is one of the channel's account."""
    try:
        found = service.get(session, channel.workspace_id, uuid.UUID(given.get("template", "")))
    except (ValueError, NotFound):
        return None
    return found if found.waba_id == channel.waba_id else None


def _after() -> tuple[str, str, uuid.UUID] | None:
    if not request.args.get("after"):
        return None
    try:
        known = asked("after_name", "after_language", "after")
        return known["after_name"], known["after_language"], uuid.UUID(known["after"])
    except ValueError:
        raise NotFound("There is no such page of this list.", hint="Begin at its first page.") from None
