"""Imports of contacts: how far each is, what it came to, the rows that were refused; stopped, and taken back."""

import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.imports import service
from crm_tasks.imports.models import LIVE, OVER, Import, ImportState
from webapp import rejects
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.lists import before

SHOWN, REFUSED = 50, 20


@blueprint.get("/imports")
def imports() -> str:
    """List them, the newest first."""
    with db.transaction() as session:
        found = service.listed(session, here().workspace_id, before=before(), limit=SHOWN + 1)
        totals = service.totals(session, [each.id for each in found])
    more = found[SHOWN - 1].id if len(found) > SHOWN else None
    return render_template("admin/imports.html", imports=found[:SHOWN], totals=totals, more=more)


@blueprint.get("/imports/<uuid:import_id>")
def one_import(import_id: uuid.UUID) -> str:
    """Show one."""
    return _page(import_id)


@blueprint.get("/imports/<uuid:import_id>/part")
def import_part(import_id: uuid.UUID) -> str:
    """Show the part of the page that changes; the page asks for it every second as long as something happens."""
    return render_template("admin/_import.html", **_found(import_id))


@blueprint.get("/imports/<uuid:import_id>/rejects")
def import_rejects(import_id: uuid.UUID) -> Response:
    """Download the rows that were refused."""
    with db.transaction() as session:
        service.get(session, here().workspace_id, import_id)
    return rejects.download(import_id)


@blueprint.post("/imports/<uuid:import_id>/cancel")
def cancel_import(import_id: uuid.UUID) -> ResponseReturnValue:
    """Stop one where it is."""
    me = here()
    answer = _try(import_id, lambda session: service.cancel(session, me.workspace_id, import_id, actor=me.actor))
    with db.transaction() as session:  # after the commit: whoever reads the file has stopped
        service.forget_file(session, import_id)
    return answer


@blueprint.post("/imports/<uuid:import_id>/undo")
def undo_import(import_id: uuid.UUID) -> ResponseReturnValue:
    """Take back what one did."""
    return _try(import_id, lambda session: service.undo(session, here().workspace_id, import_id))


def _try(import_id: uuid.UUID, change: Callable[[Session], object]) -> ResponseReturnValue:
    try:
        with db.transaction() as session:
            change(session)
    except NotFound:
        raise
    except DomainError as error:
        return _page(import_id, f"{error.message} {error.hint}"), 409
    return redirect(url_for("admin.one_import", import_id=import_id))


def _page(import_id: uuid.UUID, problem: str = "") -> str:
    return render_template("admin/import.html", problem=problem, **_found(import_id))


def _found(import_id: uuid.UUID) -> dict[str, Any]:
    personal = here().may("personal")
    with db.transaction() as session:
        found = service.get(session, here().workspace_id, import_id)
        totals = service.totals(session, [import_id])[import_id]
        refused = (
            service.rejects(session, import_id, after=-1, limit=REFUSED) if personal and totals["rejected"] else []
        )
        now = session.scalar(sa.select(db.now()))
    return {
        "found": found,
        "totals": totals,
        "refused": refused,
        "live": found.state in (*LIVE, ImportState.UNDOING),
        "can_cancel": found.state in LIVE,
        "undo_until": service.undo_until(found) if found.state in OVER and service.undo_until(found) > now else None,
        **_pace(found, totals["rows"], now),
    }


def _pace(found: Import, rows: int, now: Any) -> dict[str, Any]:
    """Return how quick it is, and how long it will still take."""
    if found.started_at is None:
        return {"per_second": None, "left": None}
    seconds = ((found.finished_at or now) - found.started_at).total_seconds()
    left = seconds * (found.size - found.position) / found.position if found.position else None
    return {"per_second": rows / seconds if seconds > 0 else None, "left": left}
