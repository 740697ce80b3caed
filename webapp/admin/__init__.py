"""The admin: pages for people, behind a login."""

from typing import Any

from flask import Blueprint, Flask, render_template
from flask_security import auth_required

from crm_tasks import status
from crm_tasks.config import settings

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


def register(app: Flask) -> None:
    """Add the pages."""
    from webapp.admin import campaigns, notifications  # noqa: F401  their pages belong to the blueprint

    app.register_blueprint(blueprint)
    app.add_template_filter(ago)
    app.add_template_filter(count)


@blueprint.get("/")
@auth_required("session")
def index() -> str:
    """Show the state of the system."""
    return render_template("admin/status.html", **_shown())


@blueprint.get("/status")
@auth_required("session")
def status_part() -> str:
    """Show the part of the page that changes; the page asks for it every two seconds."""
    return render_template("admin/_status.html", **_shown())


def _shown() -> dict[str, Any]:
    return {"status": status.collect(), "config": settings()}


def ago(seconds: float | None) -> str:
    """Return a length of time as people say it."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def count(number: int) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,}".replace(",", "\u202f")
