"""Campaigns for people: a form that writes one, and a page that rehearses, starts, stops it and shows how it goes."""

import uuid
from typing import Any

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.campaigns.models import BEFORE, TRANSITIONS, Campaign, CampaignState
from crm_tasks.campaigns.schemas import dump_stats
from crm_tasks.campaigns.service import drafting, lifecycle, progress, rehearsal, retrying, states
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.workspaces.models import Channel
from webapp.admin import blueprint
from webapp.admin.access import here

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
def campaigns() -> str:
    """List campaigns, the newest first."""
    with db.transaction() as session:
        return render_template(
            "admin/campaigns.html", campaigns=drafting.listed(session, here().workspace_id, limit=SHOWN)
        )


@blueprint.get("/campaigns/<uuid:campaign_id>")
def campaign(campaign_id: uuid.UUID) -> str:
    """Show a campaign."""
    return render_template("admin/campaign.html", **_found(campaign_id))


@blueprint.get("/campaigns/<uuid:campaign_id>/part")
def campaign_part(campaign_id: uuid.UUID) -> str:
    """Show the part of the page that changes; the page asks for it every two seconds."""
    return render_template("admin/_campaign.html", **_found(campaign_id))


@blueprint.post("/campaigns/<uuid:campaign_id>/<action>")
def campaign_action(campaign_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Start, stop, let go on, rehearse; send the failed again."""
    try:
        with db.transaction() as session:
            if action == "retry-failed":
                retrying.ask(session, here().workspace_id, campaign_id, [], actor=here().actor)
            elif action in _ACTIONS:
                _ACTIONS[action](session, here().workspace_id, campaign_id, actor=here().actor)
            else:
                raise NotFound("There is no such button.")
    except DomainError as error:
        if isinstance(error, NotFound):
            raise
        return render_template(
            "admin/campaign.html", problem=f"{error.message} {error.hint}", **_found(campaign_id)
        ), 409
    return redirect(url_for("admin.campaign", campaign_id=campaign_id))


def _found(campaign_id: uuid.UUID) -> dict[str, Any]:
    with db.transaction() as session:
        found = states.get(session, here().workspace_id, campaign_id)
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
