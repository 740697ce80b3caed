"""The whole system for operators: stores, processes, queues."""

from typing import Any

from flask import render_template

from crm_tasks import status
from crm_tasks.config import settings
from webapp.admin import blueprint


@blueprint.get("/system")
def system() -> str:
    """Show the state of the system."""
    return render_template("admin/status.html", **_shown())


@blueprint.get("/status")
def status_part() -> str:
    """Show the part of the page that changes; the page asks for it every two seconds."""
    return render_template("admin/_status.html", **_shown())


def _shown() -> dict[str, Any]:
    return {"status": status.collect(), "config": settings()}
