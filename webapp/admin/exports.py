"""Exports for people: a form for each kind, what was made, how far the rest is, and links to give on."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.service import drafting, states
from crm_tasks.campaigns.service.progress import STATES
from crm_tasks.config import settings
from crm_tasks.contacts import segments
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.core.queues import Queue
from crm_tasks.exports import service
from crm_tasks.exports.links import Link
from crm_tasks.exports.models import LIVE, Export, ExportFormat, ExportKind
from crm_tasks.exports.schemas import ExportIn
from crm_tasks.exports.service import Progress
from crm_tasks.messages.models import Direction
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.policies import field_errors
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.lists import before
from webapp.admin.shown import zone

SHOWN, CHOICES = 50, 100
KINDS = {
    ExportKind.CONTACTS: "Contacts",
    ExportKind.CONVERSATIONS: "Conversations",
    ExportKind.MESSAGES: "Messages",
    ExportKind.RECIPIENTS: "Campaign recipients",
    ExportKind.DEAD_LETTERS: "Dead letters",
}
_PERIOD = ("since", "until")


@dataclass(frozen=True, slots=True)
class Shown:
    """An export as a page shows it."""

    export: Export
    progress: Progress
    live: bool


@blueprint.get("/exports")
def exports() -> str:
    """Show the form of a kind, and exports, the newest first."""
    return _page(request.args, [])


@blueprint.get("/exports/part")
def exports_part() -> str:
    """Show the list; the page asks for it every two seconds while something is being made."""
    with db.transaction() as session:
        return render_template("admin/_exports.html", kinds=KINDS, **_listed(session))


@blueprint.post("/exports")
def start_export() -> ResponseReturnValue:
    """Have a file made; what is wrong is shown in the form."""
    form = request.form
    try:
        asked = ExportIn().load(_as_json(form))
        with db.transaction() as session:
            made = service.start(session, here().workspace_id, **asked, actor=here().actor)
    except ma.ValidationError as error:
        found = field_errors(error.normalized_messages())
        return _page(form, [f"{each.field.removeprefix('filters.')}: {each.message}" for each in found]), 422
    except DomainError as error:
        return _page(form, [f"{error.message} {error.hint}"]), 422
    return redirect(url_for("admin.export", export_id=made.id))


@blueprint.get("/exports/<uuid:export_id>")
def export(export_id: uuid.UUID) -> str:
    """Show an export."""
    return render_template("admin/export.html", **_found(export_id))


@blueprint.get("/exports/<uuid:export_id>/part")
def export_part(export_id: uuid.UUID) -> str:
    """Show the part of the page that changes."""
    return render_template("admin/_export.html", **_found(export_id))


@blueprint.get("/exports/<uuid:export_id>/download")
def download_export(export_id: uuid.UUID) -> ResponseReturnValue:
    """Lead to the file by a link that was made this moment."""
    with db.transaction() as session:
        link = service.link(service.get(session, here().workspace_id, export_id), _moment(session))
    if link is None:
        raise NotFound("There is no file of this export.", hint="Export again.")
    return redirect(url_for("downloads.fetch", token=link.token))


@blueprint.post("/exports/<uuid:export_id>/remove")
def remove_export(export_id: uuid.UUID) -> ResponseReturnValue:
    """Stop an export, or delete its file."""
    with db.transaction() as session:
        service.remove(session, here().workspace_id, export_id, actor=here().actor)
    return redirect(url_for("admin.export", export_id=export_id))


def _page(given: Mapping[str, str], problems: list[str]) -> str:
    me = here()
    kind = given.get("kind") if given.get("kind") in set(KINDS) else ExportKind.CONTACTS
    with db.transaction() as session:
        return render_template(
            "admin/exports.html",
            kind=kind,
            kinds=KINDS,
            formats=list(ExportFormat),
            given=given,
            problems=problems,
            channels=workspaces.channels(session, me.workspace_id),
            segments=segments.listed(session, me.workspace_id, limit=CHOICES),
            campaigns=_campaigns(session, given),
            states=STATES,
            directions={Direction.IN: "from customers", Direction.OUT: "from us"},
            queues=list(Queue),
            days=settings().export_days,
            **_listed(session),
        )


def _campaigns(session: Session, given: Mapping[str, str]) -> list[Campaign]:
    """Return campaigns to choose from, the one that was chosen among them, however old."""
    found = drafting.listed(session, here().workspace_id, limit=CHOICES)
    if (wanted := given.get("campaign_id", "")) and wanted not in {str(each.id) for each in found}:
        try:
            query = sa.select(Campaign).where(Campaign.workspace_id == here().workspace_id)
            found += session.scalars(query.where(Campaign.id == uuid.UUID(wanted)))
        except ValueError:
            pass
    return found


def _listed(session: Session) -> dict[str, Any]:
    found = service.listed(session, here().workspace_id, before=before(), limit=SHOWN + 1)
    moment = _moment(session)
    shown = [Shown(each, service.progress(each, moment), each.state in LIVE) for each in found[:SHOWN]]
    return {
        "exports": shown,
        "more": found[SHOWN - 1].id if len(found) > SHOWN else None,
        "live": any(each.live for each in shown),
    }


def _found(export_id: uuid.UUID) -> dict[str, Any]:
    with db.transaction() as session:
        found = service.get(session, here().workspace_id, export_id)
        moment = _moment(session)
        link: Link | None = service.link(found, moment)
        return {
            "each": Shown(found, service.progress(found, moment), found.state in LIVE),
            "link": link,
            "kept_until": service.kept_until(found),
            "kinds": KINDS,
            "filters": _in_words(session, found),
        }


def _in_words(session: Session, found: Export) -> list[tuple[str, Any]]:
    """Return the filters as people say them; what they name may be gone by now."""
    filters = found.filters
    shown: list[tuple[str, Any]] = []
    audience, who = next(iter((filters.get("audience") or {"": ""}).items()))
    if audience == "tags":
        shown.append(("With any of the tags", ", ".join(who)))
    if audience == "segment_id":
        shown.append(("In the segment", _name(session, segments.get, who, found)))
    if audience == "contact_ids":
        shown.append(("Chosen contacts", len(who)))
    if "channel_id" in filters:
        shown.append(("Channel", _name(session, workspaces.channel, filters["channel_id"], found)))
    if "campaign_id" in filters:
        shown.append(("Campaign", _name(session, states.get, filters["campaign_id"], found)))
    shown += [(name.capitalize(), datetime.fromisoformat(filters[name])) for name in _PERIOD if name in filters]
    plain = ("direction", "state", "fingerprint", "task", "queue")
    return shown + [(name.capitalize(), filters[name]) for name in plain if name in filters]


def _name(session: Session, get: Any, id: str, found: Export) -> str:
    try:
        return get(session, found.workspace_id, uuid.UUID(id)).name
    except NotFound:
        return f"{id} (it is gone)"


def _as_json(form: Mapping[str, str]) -> dict[str, Any]:
    """Return a form as the API would be asked."""
    given = {name: value.strip() for name, value in form.items() if value.strip()}
    kind = given.get("kind", "")
    filters: dict[str, Any] = {name: given[name] for name in _FIELDS.get(kind, ()) if name in given}
    filters |= {name: _as_moment(given[name]) for name in _PERIOD if name in filters}
    if kind == ExportKind.CONTACTS:
        filters["audience"] = _audience(given)
    return {"kind": kind, "format": given.get("format", ""), "filters": filters}


_FIELDS: dict[str, tuple[str, ...]] = {
    ExportKind.CONVERSATIONS: ("channel_id", *_PERIOD),
    ExportKind.MESSAGES: ("channel_id", "direction", *_PERIOD),
    ExportKind.RECIPIENTS: ("campaign_id", "state"),
    ExportKind.DEAD_LETTERS: ("queue", "task", "fingerprint"),
}


def _audience(given: Mapping[str, str]) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if tags := [tag.strip() for tag in given.get("tags", "").split(",") if tag.strip()]:
        wanted["tags"] = tags
    if "segment_id" in given:
        wanted["segment_id"] = given["segment_id"]
    return wanted or {"all": True}


def _as_moment(local: str) -> str:
    """Return a moment as people write it, in their own zone."""
    try:
        return datetime.fromisoformat(local).replace(tzinfo=zone()).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return local


def _moment(session: Session) -> datetime:
    return session.scalar(sa.select(db.now()))  # type: ignore[return-value]
