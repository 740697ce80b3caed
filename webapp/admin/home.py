"""Home: what happened today in the workspace at hand, and what needs a person."""

from datetime import datetime
from typing import Any

from flask import render_template

from crm_tasks import today
from crm_tasks.core import db
from crm_tasks.workspaces import suspension
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.shown import zone


@blueprint.get("/")
def index() -> str:
    """Show it."""
    return render_template("admin/home.html", **_shown())


@blueprint.get("/today")
def today_part() -> str:
    """Show the part of the page that changes; the page asks for it every ten seconds."""
    return render_template("admin/_home.html", **_shown())


def _shown() -> dict[str, Any]:
    me = here()
    if me.place is None:
        return {"figures": None}
    with db.transaction() as session:
        now = today.moment(session)
        since = now.astimezone(zone()).replace(hour=0, minute=0, second=0, microsecond=0)
        return {
            "figures": today.figures(session, me.workspace_id, since),
            "needs": today.needs(session, me.workspace_id, operator=me.operator),
            "suspended": suspension.of(session, [me.workspace_id]).get(me.workspace_id),
            "hour": _hours(since, now),
        }


def _hours(since: datetime, now: datetime) -> int:
    """Return how many hours of the day have begun."""
    return int((now - since).total_seconds() // 3600) + 1
