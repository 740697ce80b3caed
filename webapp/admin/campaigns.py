"""Campaigns for people: rehearsed, started, stopped, watched while they go; who got what, and who did not and why."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE, BEFORE_FIRST, TRANSITIONS, Campaign, CampaignState
from crm_tasks.campaigns.schemas import dump_stats
from crm_tasks.campaigns.service import (
    drafting,
    guards,
    lifecycle,
    pace,
    preview,
    progress,
    recipients,
    rehearsal,
    retrying,
    states,
    trial,
)
from crm_tasks.campaigns.service.progress import STATES
from crm_tasks.campaigns.service.recipients import Which
from crm_tasks.campaigns.service.verdicts import OUTCOMES, Outcome
from crm_tasks.contacts.models import Contact
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.email.service.accept import TYPE as EMAIL
from crm_tasks.messages.models import MessageState
from crm_tasks.providers import registry
from crm_tasks.workspaces.models import Channel
from webapp.admin import blueprint, masked
from webapp.admin.access import here
from webapp.admin.lists import before

SHOWN = 50
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
# What becomes of a recipient, in words.
_MEANINGS = {
    Outcome.WILL_BE_SENT: "will be sent",
    Outcome.DUPLICATE: "the same person as another recipient",
    Outcome.NO_IDENTITY: "cannot be reached by this channel",
    Outcome.OPTED_OUT: "opted out",
    Outcome.CAPPED: "had enough marketing: later",
    Outcome.QUIET_HOURS: "quiet hours: later",
    Outcome.WINDOW_CLOSED: "did not write in the last 24 hours",
    Outcome.MISSING_PARAMETER: "a value is missing",
    Outcome.TEMPLATE_STOPPED: "the template may not be sent",
    Outcome.HUMAN_TOOK_OVER: "somebody here talks to them",
    Outcome.OVER_BUDGET: "over the budget",
    Outcome.HELD: "held",
}
# What has come so far is in all states behind it.
_FUNNEL = (
    ("accepted", ("accepted", "sent", "delivered", "read", "played")),
    ("delivered", ("delivered", "read", "played")),
    ("read", ("read", "played")),
)


@blueprint.get("/campaigns")
def campaigns() -> str:
    """List campaigns, the newest first."""
    asked = request.args.get("state", "")
    state = CampaignState(asked) if asked in set(CampaignState) else None
    with db.transaction() as session:
        found = drafting.listed(session, here().workspace_id, state=state, before=before(), limit=SHOWN + 1)
    more = found[SHOWN - 1].id if len(found) > SHOWN else None
    return render_template(
        "admin/campaigns.html", campaigns=found[:SHOWN], more=more, state=state, states=list(CampaignState)
    )


@blueprint.get("/campaigns/<uuid:campaign_id>")
def campaign(campaign_id: uuid.UUID) -> str:
    """Show a campaign."""
    return render_template("admin/campaign.html", **_found(campaign_id))


@blueprint.get("/campaigns/<uuid:campaign_id>/part")
def campaign_part(campaign_id: uuid.UUID) -> str:
    """Show the part of the page that changes; the page asks for it every few seconds."""
    return render_template("admin/_campaign.html", **_found(campaign_id))


@blueprint.get("/campaigns/<uuid:campaign_id>/recipients")
def campaign_recipients(campaign_id: uuid.UUID) -> str:
    """List who is meant, in the order in which they are sent to; or for whom it came otherwise than forecast."""
    asked = {name: request.args.get(name, "") for name in ("state", "forecast", "code", "otherwise")}
    which = Which(
        state=MessageState(asked["state"]) if asked["state"] in set(STATES) else None,
        forecast=Outcome(asked["forecast"]) if asked["forecast"] in set(Outcome) else None,
        code=asked["code"] or None,
    )
    after = _after(request.args.get("after"))
    with db.transaction() as session:
        found = states.get(session, here().workspace_id, campaign_id)
        if asked["otherwise"]:
            rows = recipients.differences(session, found.id, after=after, limit=SHOWN + 1)
        else:
            rows = recipients.listed(session, found.id, which, after=after, limit=SHOWN + 1)
        names = _names(session, rows) if here().may("personal") else {}
    return render_template(
        "admin/campaign_recipients.html",
        campaign=found,
        rows=rows[:SHOWN],
        more=rows[SHOWN - 1].contact_id if len(rows) > SHOWN else None,
        names=names,
        said=masked.shower(here()),
        asked=asked,
        states=list(STATES),
        forecasts=list(Outcome),
    )


@blueprint.post("/campaigns/<uuid:campaign_id>/test")
def test_campaign(campaign_id: uuid.UUID) -> ResponseReturnValue:
    """Send the message to oneself."""
    to = request.form.get("to", "").strip()
    try:
        with db.transaction() as session:
            trial.send(session, here().workspace_id, campaign_id, to)
    except DomainError as error:
        return _refused(campaign_id, error)
    return render_template("admin/campaign.html", told=f"On its way to {to}.", **_found(campaign_id))


@blueprint.post("/campaigns/<uuid:campaign_id>/<action>")
def campaign_action(campaign_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Start, stop, let go on, rehearse; send the failed again, all or those of one reason."""
    code = request.form.get("code", "")[:100]
    try:
        with db.transaction() as session:
            if action == "retry-failed":
                codes = [code] if code else []
                retrying.ask(session, here().workspace_id, campaign_id, codes, actor=here().actor)
            elif action in _ACTIONS:
                _ACTIONS[action](session, here().workspace_id, campaign_id, actor=here().actor)
            else:
                raise NotFound("There is no such button.")
    except DomainError as error:
        return _refused(campaign_id, error)
    return redirect(url_for("admin.campaign", campaign_id=campaign_id))


def _refused(campaign_id: uuid.UUID, error: DomainError) -> ResponseReturnValue:
    if isinstance(error, NotFound):
        raise error
    told = " ".join(filter(None, [error.message, *(each.message for each in error.fields), error.hint]))
    return render_template("admin/campaign.html", problem=told, **_found(campaign_id)), 409


# --- what the pages show -----------------------------------------------------------------------------------------


def _found(campaign_id: uuid.UUID) -> dict[str, Any]:
    with db.transaction() as session:
        found = states.get(session, here().workspace_id, campaign_id)
        stats = progress.shown(session, found)
        channel = session.get_one(Channel, found.channel_id)
        shown = dump_stats(found, stats)
        watched = found.state in (CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.HALTED)
        return {
            "campaign": found,
            "shown": shown,
            "said": masked.shower(here()),
            "channel": channel,
            "medium": registry.provider(channel.kind).medium,
            "before": found.state in BEFORE,
            "buttons": _buttons(found, shown),
            "meanings": _MEANINGS,
            "outcomes_of": OUTCOMES,
            "outcomes": _outcomes(shown),
            "funnel": _funnel(shown["counts"]),
            "left": sum(stats.states[name] for name in progress.OPEN),
            "pace": pace.shown(session, found),
            "guards": guards.shown(session, found) if watched else [],
            "samples": _samples(session, found, channel) if found.state in BEFORE and here().may("personal") else [],
            "to": here().email if found.type == EMAIL else "",
        }


def _samples(session: Session, campaign: Campaign, channel: Channel) -> list[Any]:
    found = rehearsal.samples(session, campaign)
    return [preview.laid(session, channel, campaign.type, each["content"]) for each in found]


def _outcomes(shown: dict[str, Any]) -> list[tuple[str, int]]:
    """Return what the rehearsal says becomes of how many: who gets it first, then the most frequent reason."""
    counted = ((shown["rehearsal"] or {}).get("outcomes") or {}).items()
    found = [(name, number) for name, number in counted if number]
    return sorted(found, key=lambda each: (each[0] != Outcome.WILL_BE_SENT, -each[1]))


def _funnel(counts: dict[str, int]) -> list[tuple[str, int]]:
    steps = [(name, sum(counts[state] for state in states)) for name, states in _FUNNEL]
    return [("audience", counts["audience"]), *steps, ("replied", counts["replies"])]


def _buttons(campaign: Campaign, shown: dict[str, Any]) -> list[str]:
    """Return what can be done now."""
    buttons = ["start", "rehearse"] if campaign.state in BEFORE else []
    if campaign.state is CampaignState.SCHEDULED:
        buttons.remove("start")  # it starts by itself; whoever wants it sooner takes its time away
    buttons += {CampaignState.PAUSED: ["resume"], CampaignState.HALTED: ["continue"]}.get(campaign.state, [])
    if campaign.state in (CampaignState.RUNNING, CampaignState.FINISHED) and shown["counts"]["failed"]:
        buttons.append("retry-failed")
    if campaign.state is CampaignState.DRAFT:
        return buttons  # what never was to start is deleted, not cancelled
    return buttons + [name for name, state in _LEADS_TO.items() if state in TRANSITIONS[campaign.state]]


def _names(session: Session, rows: list[Any]) -> dict[uuid.UUID, str | None]:
    query = sa.select(Contact.id, Contact.name).where(Contact.id.in_([row.contact_id for row in rows]))
    return {row.id: row.name for row in session.execute(query)}


def _after(text: str | None) -> uuid.UUID:
    try:
        return uuid.UUID(text) if text else BEFORE_FIRST
    except ValueError:
        raise NotFound("There is no such page of this list.", hint="Begin at its first page.") from None
