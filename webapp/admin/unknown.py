"""Messages that may have been sent and may not: a person looks at the phone or asks the customer, and decides."""

import uuid

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.messages.service import settle as settling
from crm_tasks.messages.service.settle import Decision
from crm_tasks.workspaces import service as workspaces
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.lists import before

SHOWN = 50


@blueprint.get("/unknown")
def unknown() -> str:
    """List them, the newest first."""
    return _page()


@blueprint.post("/unknown/<uuid:message_id>/<decision>")
def settle(message_id: uuid.UUID, decision: str) -> ResponseReturnValue:
    """Send one again, or take it for failed."""
    if decision not in set(Decision):
        raise NotFound("There is no such button.")
    me = here()
    try:
        with db.transaction() as session:
            settling.decide(session, message_id, Decision(decision), actor=me.actor, workspace_id=me.workspace_id)
    except Conflict as error:
        return _page(error.message), 409
    return redirect(url_for("admin.unknown"))


def _page(problem: str = "") -> str:
    workspace_id = here().workspace_id
    with db.transaction() as session:
        found = settling.waiting(session, workspace_id, before=before(), limit=SHOWN + 1)
        channels = {each.id: each.name for each in workspaces.channels(session, workspace_id)}
    more = found[SHOWN - 1].id if len(found) > SHOWN else None
    return render_template("admin/unknown.html", messages=found[:SHOWN], channels=channels, more=more, problem=problem)
