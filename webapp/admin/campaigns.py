"""Campaigns for people: a form that writes one, and a page that rehearses, starts, stops it and shows how it goes."""

import uuid
from collections.abc import Mapping
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_security import auth_required, current_user
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE, TRANSITIONS, Campaign, CampaignState
from crm_tasks.campaigns.schemas import CampaignIn, dump_stats
from crm_tasks.campaigns.service import drafting, lifecycle, progress, rehearsal, retrying, states
from crm_tasks.contacts.models import Segment
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.templates.models import APPROVED, Template
from crm_tasks.workspaces.models import Channel, Workspace
from crm_tasks.workspaces.policies import field_errors
from webapp.admin import blueprint

SHOWN = 100
_ACTIONS = {
    "start": lifecycle.start,
    "pause": lifecycle.pause,
    "resume": lifecycle.resume,
    "continue": lifecycle.go_on,
    "cancel": lifecycle.cancel,
    "rehearse": rehearsal.ask,
}
# By which state they come about; the same button would lead nowhere from the others.
_LEADS_TO = {"pause": CampaignState.PAUSED, "cancel": CampaignState.CANCELLED}


@blueprint.get("/campaigns")
@auth_required("session")
def campaigns() -> str:
    """List campaigns, the newest first."""
    with db.transaction() as session:
        return render_template("admin/campaigns.html", campaigns=drafting.listed(session, limit=SHOWN))


@blueprint.get("/campaigns/new")
@auth_required("session")
def campaign_form() -> str:
    """Show the form for a new campaign."""
    return _form({}, [])


@blueprint.post("/campaigns/new")
@auth_required("session")
def create_campaign() -> ResponseReturnValue:
    """Write a campaign and rehearse it; what is wrong is shown in the form."""
    form = request.form
    try:
        values = CampaignIn().load(_as_json(form))
        with db.transaction() as session:
            campaign = _create(session, values)
            if campaign.state in BEFORE:
                rehearsal.ask(session, campaign.workspace_id, campaign.id, actor=_actor())
    except ma.ValidationError as error:
        return _form(form, [f"{each.field}: {each.message}" for each in field_errors(error.normalized_messages())]), 422
    except DomainError as error:
        return _form(form, [error.message, *(f"{each.field}: {each.message}" for each in error.fields)]), 422
    return redirect(url_for("admin.campaign", campaign_id=campaign.id))


@blueprint.get("/campaigns/<uuid:campaign_id>")
@auth_required("session")
def campaign(campaign_id: uuid.UUID) -> str:
    """Show a campaign."""
    return render_template("admin/campaign.html", **_found(campaign_id))


@blueprint.get("/campaigns/<uuid:campaign_id>/part")
@auth_required("session")
def campaign_part(campaign_id: uuid.UUID) -> str:
    """Show the part of the page that changes; the page asks for it every two seconds."""
    return render_template("admin/_campaign.html", **_found(campaign_id))


@blueprint.post("/campaigns/<uuid:campaign_id>/<action>")
@auth_required("session")
def campaign_action(campaign_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Start, stop, let go on, rehearse; send the failed again."""
    try:
        with db.transaction() as session:
            if action == "retry-failed":
                retrying.ask(session, None, campaign_id, [], actor=_actor())
            elif action in _ACTIONS:
                _ACTIONS[action](session, None, campaign_id, actor=_actor())
            else:
                raise NotFound("There is no such button.")
    except DomainError as error:
        if isinstance(error, NotFound):
            raise
        return render_template(
            "admin/campaign.html", problem=f"{error.message} {error.hint}", **_found(campaign_id)
        ), 409
    return redirect(url_for("admin.campaign", campaign_id=campaign_id))


def _create(session: Session, values: dict[str, Any]) -> Campaign:
    """Write a campaign in the workspace of its channel: people of the admin see all of them."""
    channel = session.get(Channel, values["channel_id"])
    if channel is None:
        raise NotFound("There is no such channel.", code="channel_not_found")
    new = drafting.NewCampaign(**values)
    return drafting.create(session, channel.workspace_id, new, actor=_actor())


def _as_json(form: Mapping[str, str]) -> dict[str, Any]:
    """Return a form as the API would be asked."""
    given = {name: value.strip() for name, value in form.items() if value.strip()}
    asked: dict[str, Any] = {name: given[name] for name in ("name", "channel_id", "time_zone") if name in given}
    asked["message"], asked["audience"] = _message(given), _audience(given)
    if "scheduled_for" in given:
        asked["scheduled_for"] = given["scheduled_for"]
    return asked


def _message(given: Mapping[str, str]) -> dict[str, Any]:
    if given.get("type") == "text":
        return {"type": "text", "text": {"body": given.get("body", "")}}
    if given.get("type") == "email":
        return {"type": "email", "email": {"subject": given.get("subject", ""), "text": given.get("mail", "")}}
    name, _, language = given.get("template", "").partition(" ")
    parts = (("header", given.get("header_values", "")), ("body", given.get("body_values", "")))
    components = [
        {"type": kind, "parameters": [{"type": "text", "text": line.strip()} for line in lines.splitlines()]}
        for kind, lines in parts
        if lines
    ]
    template = {"name": name, "language": {"code": language.strip() or "en_US"}, "components": components}
    return {"type": "template", "template": template}


def _audience(given: Mapping[str, str]) -> dict[str, Any]:
    kind = given.get("audience")
    if kind == "tags":
        return {"tags": [tag.strip() for tag in given.get("tags", "").split(",") if tag.strip()]}
    if kind == "segment_id":
        return {"segment_id": given.get("segment_id", "")}
    return {"all": True} if kind == "all" else {}


def _form(given: Mapping[str, str], problems: list[str]) -> str:
    with db.transaction() as session:
        channels = sa.select(Channel.id, Channel.name, Channel.kind, Workspace.name.label("workspace"))
        templates = sa.select(Template.name, Template.language).where(Template.status == APPROVED).distinct()
        return render_template(
            "admin/campaign_new.html",
            given=given,
            problems=problems,
            channels=session.execute(channels.join(Workspace).order_by(Channel.id)).all(),
            templates=session.execute(templates.order_by(Template.name, Template.language).limit(500)).all(),
            segments=session.execute(sa.select(Segment.id, Segment.name).order_by(Segment.name).limit(500)).all(),
        )


def _found(campaign_id: uuid.UUID) -> dict[str, Any]:
    with db.transaction() as session:
        found = states.get(session, None, campaign_id)
        stats = progress.shown(session, found)
        samples = rehearsal.samples(session, found) if found.state in BEFORE else []
        channel = session.get_one(Channel, found.channel_id).name
    shown = dump_stats(found, stats, samples)
    done = sum(count for name, count in stats.states.items() if name not in progress.OPEN)
    return {"campaign": found, "shown": shown, "channel": channel, "done": done, "buttons": _buttons(found, shown)}


def _buttons(campaign: Campaign, shown: dict[str, Any]) -> list[str]:
    """Return what can be done now."""
    buttons = ["rehearse", "start"] if campaign.state in BEFORE else []
    buttons += {CampaignState.PAUSED: ["resume"], CampaignState.HALTED: ["continue"]}.get(campaign.state, [])
    if campaign.state in (CampaignState.RUNNING, CampaignState.FINISHED) and shown["counts"]["failed"]:
        buttons.append("retry-failed")
    return buttons + [name for name, state in _LEADS_TO.items() if state in TRANSITIONS[campaign.state]]


def _actor() -> str:
    return f"user:{current_user.email}"
