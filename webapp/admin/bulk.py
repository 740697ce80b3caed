"""One action on many contacts, those of a segment or a tag or all: asked about once more, then watched."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.contacts import segments
from crm_tasks.contacts.schemas import Tags
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, Forbidden, Invalid, NotFound
from crm_tasks.imports import bulk
from crm_tasks.imports.bulk_models import OPEN, Action
from crm_tasks.workspaces.roles import Permission
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.contacts import people
from webapp.admin.forms import asked, problems, typed, words
from webapp.admin.lists import before

SHOWN = 50
# What has to be typed before many people are deleted.
DELETE = "delete"


@blueprint.get("/bulk")
def bulk_actions() -> str:
    """List what was done to many, the newest first."""
    with db.transaction() as session:
        found = bulk.listed(session, here().workspace_id, before=before(), limit=SHOWN + 1)
        named = _names(session)
    more = found[SHOWN - 1].id if len(found) > SHOWN else None
    return render_template("admin/bulk_actions.html", actions=found[:SHOWN], named=named, more=more)


@blueprint.get("/bulk/new")
def bulk_form() -> str:
    """Ask what is to be done to whom."""
    return _form(asked("segment_id", "tag"), {})


@blueprint.post("/bulk/new")
def start_bulk() -> ResponseReturnValue:
    """Begin it."""
    given, me = typed(), here()
    try:
        action = _action(given)
        with db.transaction() as session:
            made = bulk.start(
                session,
                me.workspace_id,
                action,
                audience=_audience(given),
                value=_value(session, action, given),
                actor=me.actor,
            )
    except (NotFound, Forbidden):
        raise
    except DomainError as error:
        return _form(given, given, [each.message for each in problems(error)]), 422
    return redirect(url_for("admin.bulk_action", bulk_id=made.id))


@blueprint.get("/bulk/<uuid:bulk_id>")
def bulk_action(bulk_id: uuid.UUID) -> str:
    """Show one and how far it is."""
    return render_template("admin/bulk_action.html", problem="", **_found(bulk_id))


@blueprint.get("/bulk/<uuid:bulk_id>/part")
def bulk_part(bulk_id: uuid.UUID) -> str:
    """Show the part of the page that changes; the page asks for it every second as long as something happens."""
    return render_template("admin/_bulk_action.html", **_found(bulk_id))


@blueprint.post("/bulk/<uuid:bulk_id>/cancel")
def cancel_bulk(bulk_id: uuid.UUID) -> ResponseReturnValue:
    """Stop one; what it has done stays done."""
    try:
        with db.transaction() as session:
            bulk.cancel(session, here().workspace_id, bulk_id, actor=here().actor)
    except NotFound:
        raise
    except DomainError as error:
        return render_template("admin/bulk_action.html", problem=error.message, **_found(bulk_id)), 409
    return redirect(url_for("admin.bulk_action", bulk_id=bulk_id))


def _action(given: dict[str, str]) -> Action:
    """Return what is to be done; deleting is for who may, and asks for a word.

    Raises:
        Invalid: nothing of the list, or the word was not typed. Forbidden: not as this role.
    """
    name = given.get("action", "")
    if name not in set(Action):
        raise Invalid("Choose what is to be done.")
    if name == Action.DELETE and not here().may(Permission.MANAGE):
        raise Forbidden("Only an admin deletes contacts.", code="role", hint="Ask an admin of this workspace.")
    if name == Action.DELETE and given.get("confirm", "").lower() != DELETE:
        raise Invalid(f"Type {DELETE} to say that you mean it: they go with their conversations, for good.")
    return Action(name)


def _audience(given: dict[str, str]) -> dict[str, Any]:
    if given.get("segment_id"):
        return {"segment_id": _id(given["segment_id"])}
    return {"tags": [given["tag"]]} if given.get("tag") else {"all": True}


def _value(session: Session, action: Action, given: dict[str, str]) -> dict[str, Any]:
    if action in (Action.TAG, Action.UNTAG):
        try:
            return {"tags": Tags().deserialize(words(given.get("tags", "")))}
        except ma.ValidationError:
            raise Invalid("These tags cannot be used: give at most 50, of at most 64 characters each.") from None
    if action is not Action.ASSIGN:
        return {}
    known = {str(id): id for id in people(session, here().workspace_id)}
    wanted = given.get("user_id", "")
    if wanted and wanted not in known:
        raise Invalid("Choose somebody of the list.")
    return {"user_id": known.get(wanted)}


def _form(given: dict[str, str], typed_in: dict[str, str], found: list[str] | None = None) -> str:
    with db.transaction() as session:
        audience = _audience(given)
        name, conditions = given.get("tag", ""), {"field": "created_at", "op": "is_set"}
        if "segment_id" in audience:
            segment = segments.get(session, here().workspace_id, audience["segment_id"])
            name, conditions = segment.name, segment.conditions
        elif name:
            conditions = {"field": "tags", "op": "has", "value": name}
        return render_template(
            "admin/bulk_form.html",
            kind=next(iter(audience)),
            name=name,
            # Of the last five minutes: how many they are when it begins is said then.
            number=_count(session, conditions),
            asked=given,
            given=typed_in,
            problems=found,
            people=people(session, here().workspace_id),
        )


def _count(session: Session, conditions: Mapping[str, Any]) -> int | None:
    try:
        return segments.count(session, here().workspace_id, conditions)
    except Invalid:  # of a segment whose attribute is gone, or of no tag: what is begun says so
        return None


def _found(bulk_id: uuid.UUID) -> dict[str, Any]:
    with db.transaction() as session:
        found = bulk.get(session, here().workspace_id, bulk_id)
        now: datetime = session.scalar(sa.select(db.now()))  # type: ignore[assignment]
        seconds = ((found.finished_at or now) - found.started_at).total_seconds() if found.started_at else 0
        left = None
        if found.matched and found.audience_size:
            left = seconds * max(found.audience_size - found.matched, 0) / found.matched
        return {
            "found": found,
            "live": found.state in OPEN,
            "named": _names(session),
            "left": left,
            "per_second": found.matched / seconds if seconds else None,
        }


def _names(session: Session) -> dict[str, str]:
    """Return what ids in an action are called: segments and people."""
    known = segments.listed(session, here().workspace_id, limit=200)
    mine = people(session, here().workspace_id)
    return {str(each.id): each.name for each in known} | {str(id): email for id, email in mine.items()}


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound("There is no such segment.", code="segment_not_found") from None
