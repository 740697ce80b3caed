"""Queues: what waits and how long, and holds, which stop work by scope until they are released or expire."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, holds, overview
from crm_tasks.core.errors import DomainError, FieldError, Invalid, NotFound
from crm_tasks.core.queues import Queue
from webapp import flower, own
from webapp.admin import blueprint
from webapp.admin.access import here

LONGEST = 60 * 24 * 366
# Minutes that a chart shows.
LAST = 60


@blueprint.get("/queues")
def queues() -> str:
    """Show queues and holds."""
    return _page()


@blueprint.get("/queues/part")
def queues_part() -> str:
    """Show the part of the page that changes; the page asks for it every five seconds."""
    return render_template("admin/_queues.html", **_shown())


@blueprint.get("/queues/<name>")
def queue(name: str) -> str:
    """Show one queue."""
    return render_template("admin/queue.html", **_one(name))


@blueprint.get("/queues/<name>/part")
def queue_part(name: str) -> str:
    """Show the part of the page that changes; the page asks for it every five seconds."""
    return render_template("admin/_queue.html", **_one(name))


@blueprint.post("/holds")
def place_hold() -> ResponseReturnValue:
    """Stop everything in a scope from being started."""
    me, form = here(), request.form
    try:
        with db.transaction() as session:
            if not me.operator:
                own.check(session, me.workspace_id, form.get("scope", ""))
            holds.place(
                session,
                form.get("scope", ""),
                reason=form.get("reason", ""),
                actor=me.actor,
                expires_at=_expiry(session, form.get("minutes", "").strip()),
                workspace_id=None if me.operator else me.workspace_id,
            )
    except DomainError as error:
        return _page(" ".join([error.message, error.hint])), 422
    return redirect(url_for("admin.queues"))


@blueprint.post("/holds/<uuid:hold_id>/release")
def release_hold(hold_id: uuid.UUID) -> ResponseReturnValue:
    """End a hold."""
    with db.transaction() as session:
        holds.release(
            session, hold_id, actor=here().actor, workspace_id=None if here().operator else here().workspace_id
        )
    return redirect(url_for("admin.queues"))


def _expiry(session: Session, minutes: str) -> datetime | None:
    if not minutes:
        return None
    if not minutes.isascii() or not minutes.isdigit() or not 0 < int(minutes[:7]) <= LONGEST:
        error = FieldError("minutes", f"Use a whole number from 1 to {LONGEST}, or nothing.")
        raise Invalid("This is no number of minutes.", hint=error.message, fields=[error])
    moment: datetime = session.scalar(sa.select(db.now()))  # type: ignore[assignment]
    return moment + timedelta(minutes=int(minutes))


def _page(problem: str = "") -> str:
    with db.transaction() as session:
        scopes = own.scopes(session, here().workspace_id)
    return render_template("admin/queues.html", problem=problem, scopes=scopes, **_shown())


def _shown() -> dict[str, Any]:
    me = here()
    with db.transaction() as session:
        return {
            "queues": overview.queues_lately(session, workspace_id=me.sees),
            "holds": holds.listed(session, workspace_id=me.sees),
            "counts": holds.held_counts(session, workspace_id=me.sees),
            # Of all workspaces together, and so for operators.
            "speeds": {each.name: each for each in overview.metrics(session, ages=False)} if me.operator else {},
            "minutes": overview.minutes(session, last=LAST) if me.operator else [],
            "flower": flower.url() if me.operator else None,
        }


def _one(name: str) -> dict[str, Any]:
    me = here()
    if name not in set(Queue):
        raise NotFound(f"There is no queue {name[:50]!r}.", hint="Look at the list of queues.")
    with db.transaction() as session:
        found = next(each for each in overview.queues_lately(session, workspace_id=me.sees) if each.name == name)
        stopping = holds.in_force(session, ["all", f"queue:{name}"])
        return {
            "queue": found,
            "holds": stopping,
            "policy": settings().queues[Queue(name)],
            "minutes": overview.minutes(session, last=LAST, queue=name) if me.operator else [],
            "flower": flower.url("tasks") if me.operator else None,
        }
