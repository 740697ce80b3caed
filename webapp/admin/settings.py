"""How a workspace is set up: one page that leads to what can be set."""

from flask import render_template

from crm_tasks.core import db
from crm_tasks.webhooks.service import endpoints
from crm_tasks.workspaces import policies
from crm_tasks.workspaces import service as workspaces
from webapp.admin import blueprint
from webapp.admin.access import here


@blueprint.get("/settings")
def settings() -> str:
    """Show what there is, and how much of it."""
    workspace_id = here().workspace_id
    with db.transaction() as session:
        counts = {
            "channels": len(workspaces.channels(session, workspace_id)),
            "rules": len(policies.listed(session, workspace_id)),
            "webhooks": len(endpoints.listed(session, workspace_id)),
            "keys": sum(key.revoked_at is None for key in workspaces.keys(session, workspace_id)),
        }
    return render_template("admin/settings.html", counts=counts)
