"""Who changed what in the admin and through the API."""

from flask import render_template, request

from crm_tasks.core import db
from crm_tasks.workspaces import audit
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.lists import before

SHOWN = 50


@blueprint.get("/audit")
def audit_log() -> str:
    """List changes, the newest first."""
    asked = {name: request.args.get(name, "").strip() for name in ("actor", "action", "subject")}
    with db.transaction() as session:
        found = audit.listed(session, here().sees, before=before(), limit=SHOWN + 1, **asked)
    more = found[SHOWN - 1].id if len(found) > SHOWN else None
    return render_template("admin/audit.html", events=found[:SHOWN], asked=asked, more=more)
