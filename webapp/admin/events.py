"""Webhook requests that could not be understood: looked at and tried again, for instance after an update."""

import uuid

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.messages.service import events as service
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.lists import before

SHOWN = 50
# Characters of a request that are shown; a whole one may have three million.
BEGINNING = 2000


@blueprint.get("/events")
def events() -> str:
    """List them, the newest first."""
    with db.transaction() as session:
        found = service.listed(session, before=before(), limit=SHOWN + 1)
    shown = [(event, event.body[:BEGINNING].decode("utf-8", "replace")) for event in found[:SHOWN]]
    return render_template("admin/events.html", events=shown, more=found[SHOWN - 1].id if len(found) > SHOWN else None)


@blueprint.post("/events/<uuid:event_id>/replay")
def replay_event(event_id: uuid.UUID) -> ResponseReturnValue:
    """Have one applied again."""
    with db.transaction() as session:
        service.replay(session, event_id, actor=here().actor)
    return redirect(url_for("admin.events"))
