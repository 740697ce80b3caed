"""Campaigns written in a form of three steps: whom, what, when. What it will look like is shown while it is written.

The form keeps everything itself: each step sends it all, and only the last makes a campaign.
"""

import uuid
from collections.abc import Mapping
from typing import Any
from zoneinfo import available_timezones

import marshmallow as ma
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE, Campaign
from crm_tasks.campaigns.schemas import CampaignIn, in_millionths
from crm_tasks.campaigns.service import composing, drafting, preview, rehearsal, rendering, states
from crm_tasks.contacts import attributes, segments
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.messages.models import Category
from crm_tasks.messages.service import pacing
from crm_tasks.providers import registry
from crm_tasks.templates import service as templates
from crm_tasks.templates.models import Template
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel
from crm_tasks.workspaces.policies import field_errors
from webapp.admin import blueprint, campaign_fields
from webapp.admin.access import here
from webapp.admin.campaign_fields import KEPT, STEPS, Read
from webapp.admin.templates import chosen

_MOST, _SOME = 500, 5
_TYPES = {"whatsapp": ("template", "text"), "sms": ("text",), "email": ("email",)}
_CATEGORIES = (Category.MARKETING, Category.UTILITY, Category.SERVICE)
# What people call a field that the API names otherwise.
_WORDS = {
    "name": "Name",
    "audience": "Audience",
    "audience.tags": "Tags",
    "audience.segment_id": "Segment",
    "audience.contact_ids": "Contacts",
    "channel_id": "Channel",
    "message": "Message",
    "message.type": "Message",
    "message.template": "Template",
    "message.text": "Text",
    "message.text.body": "Text",
    "message.email": "E-mail",
    "message.email.subject": "Subject",
    "message.email.text": "Words",
    "message.email.html": "HTML",
    "scheduled_for": "Start",
    "time_zone": "Time zone",
    "budget": "Budget",
    "guards.failure_share": "Failures",
    "guards.opt_out_share": "Opt-outs",
    "guards.minimum": "Judge by",
    "guards.canary_share": "Go first",
    "guards.canary_min": "Go first at least",
    "guards.canary_wait": "Wait for their results",
}


@blueprint.get("/campaigns/new")
def campaign_form() -> str:
    """Show the form for a new campaign; an address may say whom it is for."""
    return _form({"time_zone": here().time_zone, **campaign_fields.guards(), **request.args}, [], "whom")


@blueprint.post("/campaigns/new")
def create_campaign() -> ResponseReturnValue:
    """Go to another step, or write the campaign and rehearse it; what is wrong is shown at its step."""
    return _step(None)


@blueprint.get("/campaigns/<uuid:campaign_id>/edit")
def edit_campaign(campaign_id: uuid.UUID) -> str:
    """Show the form with what a campaign is; of one that has started, what may still change."""
    with db.transaction() as session:
        campaign = states.get(session, here().workspace_id, campaign_id)
        given = campaign_fields.written(campaign, _named_template(session, campaign))
    step = "whom" if campaign.state in BEFORE else "when"
    return _form({"time_zone": here().time_zone, **{k: v for k, v in given.items() if v}}, [], step, campaign)


@blueprint.post("/campaigns/<uuid:campaign_id>/edit")
def change_campaign(campaign_id: uuid.UUID) -> ResponseReturnValue:
    """Go to another step, or change the campaign and rehearse it anew."""
    with db.transaction() as session:
        campaign = states.get(session, here().workspace_id, campaign_id)
    return _step(campaign)


@blueprint.post("/campaigns/<uuid:campaign_id>/delete")
def delete_campaign(campaign_id: uuid.UUID) -> ResponseReturnValue:
    """Throw away a campaign that has not started."""
    with db.transaction() as session:
        drafting.delete(session, here().workspace_id, campaign_id, actor=here().actor)
    return redirect(url_for("admin.campaigns"))


@blueprint.post("/campaigns/audience")
def audience_part() -> str:
    """Show how many the form means, and some of them."""
    wanted, number, some, problem = campaign_fields.read(request.form, None).asked["audience"], 0, [], ""
    with db.transaction() as session:
        if problems := _problems(session, Read({"audience": wanted}), ("audience",)):
            problem = problems[0]
        else:
            number = preview.count(session, here().workspace_id, wanted)
            some = preview.people(session, here().workspace_id, wanted, limit=_SOME)
    return render_template("admin/_audience.html", number=number, some=some, problem=problem)


@blueprint.post("/campaigns/fields")
def message_fields_part() -> str:
    """Show the fields that the chosen channel, type and template have."""
    with db.transaction() as session:
        return render_template("admin/_campaign_message.html", **_message_of(session, request.form))


@blueprint.post("/campaigns/preview")
def preview_part() -> str:
    """Show the message as one person of the audience would see it."""
    with db.transaction() as session:
        channel = _channel(session, request.form)
        if channel is None:
            return render_template("admin/_phone.html", preview=None, channel=None, medium="")
        read = campaign_fields.read(request.form, _template(session, request.form, channel))
        person = _somebody(session, read)
        shown = preview.shown(session, channel, read.asked.get("message") or {}, person)
        medium = registry.provider(channel.kind).medium
    return render_template("admin/_phone.html", preview=shown, channel=channel, medium=medium)


# --- one step ----------------------------------------------------------------------------------------------------


def _step(campaign: Campaign | None) -> ResponseReturnValue:
    given, go = request.form, request.form.get("go", "")
    with db.transaction() as session:
        channel = _channel(session, given)
        if go == "fetch" and channel is not None:
            templates.ask_sync(session, channel)
        template = _template(session, given, channel) if channel is not None else None
        read = campaign_fields.read(given, template)
        at = given.get("at", "")
        asked = [at] if go in STEPS and _is_before(at, go) else [] if go in (*STEPS, "fetch") else list(STEPS)
        if campaign is not None and campaign.state not in BEFORE:
            asked = ["when"]
        for step in (step for step in STEPS if step in asked):
            if problems := _problems(session, read, STEPS[step], campaign):
                return _form(given, problems, step, campaign), 422
    if go in STEPS:
        return _form(given, [], go, campaign)
    return _form(given, [], "what", campaign) if go == "fetch" else _save(read, campaign)


def _is_before(step: str, other: str) -> bool:
    return list(STEPS).index(step) < list(STEPS).index(other) if step in STEPS else False


def _save(read: Read, campaign: Campaign | None) -> ResponseReturnValue:
    me = here()
    try:
        with db.transaction() as session:
            if campaign is None:
                new = drafting.NewCampaign(**in_millionths(CampaignIn().load(read.asked)))
                saved = drafting.create(session, me.workspace_id, new, actor=me.actor)
            else:
                values = in_millionths(CampaignIn(partial=True).load(_changed(read, campaign)))
                saved = drafting.change(session, me.workspace_id, campaign.id, values, actor=me.actor)
            if saved.state in BEFORE and saved.rehearsal is None:
                rehearsal.ask(session, me.workspace_id, saved.id, actor=me.actor)
    except DomainError as error:
        if isinstance(error, NotFound):
            raise
        return _form(request.form, _told(error, read), "when", campaign), 422
    return redirect(url_for("admin.campaign", campaign_id=saved.id))


def _changed(read: Read, campaign: Campaign) -> dict[str, Any]:
    """Return what the form may change of a campaign: what stays as it is keeps its plan and its rehearsal."""
    asked = {name: value for name, value in read.asked.items() if name != "channel_id"}
    if campaign.state not in BEFORE:
        return {name: asked[name] for name in ("name", "budget", "guards")}
    with db.transaction() as session:
        template = _named_template(session, campaign)
    was = campaign_fields.read(campaign_fields.written(campaign, template), template).asked
    same = [name for name in ("message", "audience") if asked.get(name) == was.get(name)]
    return {name: value for name, value in asked.items() if name not in same}


def _problems(session: Session, read: Read, names: tuple[str, ...], campaign: Campaign | None = None) -> list[str]:
    """Return what is wrong with some of what a form says, for people."""
    kept = campaign is not None and "message" not in read.asked
    asked = {name: read.asked[name] for name in names if name in read.asked}
    try:
        values = CampaignIn(partial=("message",) if kept else (), only=names).load(asked)
        if "audience" in values:
            preview.people(session, here().workspace_id, values["audience"])
        if "message" in values:
            channel = workspaces.channel(session, here().workspace_id, values["channel_id"])
            composing.checked(session, channel, values["message"])
    except ma.ValidationError as error:
        return [_worded(read, each.field, each.message) for each in field_errors(error.normalized_messages())]
    except DomainError as error:
        return _told(error, read)
    return []


def _told(error: DomainError, read: Read) -> list[str]:
    return [error.message, *(_worded(read, each.field, each.message) for each in error.fields)]


def _worded(read: Read, path: str, problem: str) -> str:
    """Return a problem by the name that its field has in the form."""
    words = {**_WORDS, **read.words}
    while path and path not in words:
        path = path.rpartition(".")[0]
    return f"{words[path]}: {problem}" if path else problem


# --- what the form shows -----------------------------------------------------------------------------------------


def _form(given: Mapping[str, str], problems: list[str], step: str, campaign: Campaign | None = None) -> str:
    with db.transaction() as session:
        return render_template(
            "admin/campaign_form.html",
            **_message_of(session, given),
            campaign=campaign,
            started=campaign is not None and campaign.state not in BEFORE,
            problems=problems,
            step=step,
            segments=segments.listed(session, here().workspace_id, limit=_MOST),
            zones=sorted(available_timezones()),
        )


def _message_of(session: Session, given: Mapping[str, str]) -> dict[str, Any]:
    """Return what the fields of the message need."""
    workspace_id = here().workspace_id
    channels = workspaces.channels(session, workspace_id)
    channel = _channel(session, given)
    medium = registry.provider(channel.kind).medium if channel else ""
    template = _template(session, given, channel) if channel else None
    types = _TYPES.get(medium, ())
    kind = given.get("type", "")
    return {
        "given": given,
        "channels": channels,
        "channel": channel,
        "medium": medium,
        "per_second": pacing.per_second(registry.provider(channel.kind), channel.settings) if channel else None,
        "types": types,
        "type": kind if kind in (*types, KEPT) else types[0] if types else "",
        "template": template,
        "templates": _templates(session, channel, template) if channel and medium == "whatsapp" else [],
        "places": campaign_fields.places(template) if template else [],
        "sources": _sources(session, workspace_id),
        "categories": _CATEGORIES,
    }


def _channel(session: Session, given: Mapping[str, str]) -> Channel | None:
    """Return the channel that a form names, else the first there is."""
    channels = workspaces.channels(session, here().workspace_id)
    wanted = given.get("channel_id")
    return next((each for each in channels if str(each.id) == wanted), None if wanted or not channels else channels[0])


def _template(session: Session, given: Mapping[str, str], channel: Channel | None) -> Template | None:
    return chosen(session, channel, given) if channel is not None else None


def _named_template(session: Session, campaign: Campaign) -> Template | None:
    """Return the template that a campaign's message names."""
    if campaign.type != "template":
        return None
    channel = workspaces.channel(session, campaign.workspace_id, campaign.channel_id)
    return templates.find(session, channel, *templates.named(campaign.content))


def _templates(session: Session, channel: Channel, current: Template | None) -> list[Template]:
    """Return what can be sent, and what is chosen even if it cannot be any more."""
    mine = templates.sendable(session, channel)
    return mine if current is None or current in mine else [current, *mine]


def _sources(session: Session, workspace_id: uuid.UUID) -> list[str]:
    """Return the values of contacts that a place may have."""
    own = attributes.types(session, workspace_id)
    return [*rendering.FIELDS, *(f"attributes.{name}" if name in rendering.FIELDS else name for name in own)]


def _somebody(session: Session, read: Read) -> uuid.UUID | None:
    if _problems(session, Read({"audience": read.asked["audience"]}), ("audience",)):
        return None
    try:
        after = uuid.UUID(request.form.get("after", ""))
    except ValueError:
        after = None
    found = preview.people(session, here().workspace_id, read.asked["audience"], after=after)
    return found[0][0] if found else None
