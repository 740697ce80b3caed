"""Keys of the API: made and shown this once, ended at once."""

import uuid
from typing import Any

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.workspaces import audit, service
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import typed


@blueprint.get("/settings/keys")
def keys() -> str:
    """List the keys: of each its beginning."""
    return _page()


@blueprint.post("/settings/keys")
def create_key() -> ResponseReturnValue:
    """Make a key and show it, this once."""
    given, me = typed(), here()
    with db.transaction() as session:
        operator = me.operator and given.get("operator") == "yes"
        key, secret = service.create_key(session, me.workspace_id, given.get("name", ""), operator=operator)
        audit.note(session, key_id=str(key.id), name=key.name)
        session.expunge(key)
    return _page(made=key, secret=secret)


@blueprint.post("/settings/keys/<uuid:key_id>/revoke")
def revoke_key(key_id: uuid.UUID) -> ResponseReturnValue:
    """End a key at once."""
    me = here()
    with db.transaction() as session:
        service.revoke_key(session, me.workspace_id, key_id, operator=me.operator)
    return redirect(url_for("admin.keys"))


def _page(**more: Any) -> str:
    with db.transaction() as session:
        found = service.keys(session, here().workspace_id)
    found.sort(key=lambda key: key.revoked_at is not None)
    return render_template("admin/keys.html", keys=found, **more)
