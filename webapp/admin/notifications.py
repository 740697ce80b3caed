"""The bell: what nobody has read, on every page, and the page with all of it."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.core.errors import NotFound
from crm_tasks.notifications import service
from webapp.admin import blueprint
from webapp.admin.access import here

SHOWN, IN_BELL = 100, 5


@blueprint.get("/bell")
def bell() -> str:
    """Show the bell with how many are unread and the latest of them; every page asks for it."""
    return render_template("admin/_bell.html", **_found(unread=True, limit=IN_BELL))


@blueprint.get("/notifications")
def notifications() -> str:
    """Show notifications, the newest first."""
    return render_template("admin/notifications.html", **_found(unread=False, limit=SHOWN))


@blueprint.get("/notifications/list")
def notifications_part() -> str:
    """Show the part of the page that changes."""
    return render_template("admin/_notifications.html", **_found(unread=False, limit=SHOWN))


@blueprint.post("/notifications/read")
def read_all() -> ResponseReturnValue:
    """Mark as read all up to the newest that the page showed: what has come since stays."""
    with db.transaction() as session:
        service.read_all(session, workspace_id=_whose(), up_to=_id(request.form.get("up_to", "")))
    return redirect(url_for("admin.notifications"))


@blueprint.post("/notifications/<uuid:notification_id>/read")
def read_one(notification_id: uuid.UUID) -> ResponseReturnValue:
    """Mark one as read."""
    with db.transaction() as session:
        service.read(session, notification_id, workspace_id=_whose())
    return redirect(url_for("admin.notifications"))


def _whose() -> uuid.UUID | None:
    """Operators are told of everything, also of what belongs to no workspace."""
    return None if here().operator else here().workspace_id


def _found(*, unread: bool, limit: int) -> dict[str, Any]:
    with db.transaction() as session:
        return {
            "notifications": service.listed(session, workspace_id=_whose(), unread=unread, limit=limit),
            "unread": service.unread_count(session, workspace_id=_whose()),
            "now": session.scalar(sa.select(db.now())),
        }


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound("There is no such notification.", code="notification_not_found") from None
