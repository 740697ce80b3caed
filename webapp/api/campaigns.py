"""`/api/v1/campaigns`: one message to many. Written, rehearsed, started, stopped, looked at."""

import uuid
from typing import Any

import marshmallow as ma
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE_FIRST, Campaign, CampaignState
from crm_tasks.campaigns.schemas import (
    CampaignChange,
    CampaignIn,
    CampaignOut,
    CampaignStatsOut,
    DifferenceOut,
    RecipientOut,
    RetryIn,
    TestIn,
    dump_campaign,
    dump_difference,
    dump_recipient,
    dump_stats,
    in_millionths,
)
from crm_tasks.campaigns.service import drafting, lifecycle, progress, recipients, rehearsal, retrying, states, trial
from crm_tasks.campaigns.service.progress import STATES
from crm_tasks.campaigns.service.recipients import Which
from crm_tasks.campaigns.service.verdicts import Outcome
from crm_tasks.core.db import transaction
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.schemas import MessageOut, dump_message
from webapp.api.once import DOCUMENTED, once
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("campaigns", __name__, description="Campaigns: one message to many")

_ACTIONS = {
    "start": lifecycle.start,
    "pause": lifecycle.pause,
    "resume": lifecycle.resume,
    "continue": lifecycle.go_on,
    "cancel": lifecycle.cancel,
}


class CampaignPage(Envelope):
    """A page of campaigns."""

    data = ma.fields.List(ma.fields.Nested(CampaignOut))


class RecipientPage(Envelope):
    """A page of recipients."""

    data = ma.fields.List(ma.fields.Nested(RecipientOut))


class DifferencePage(Envelope):
    """A page of those for whom it came otherwise."""

    data = ma.fields.List(ma.fields.Nested(DifferenceOut))


class CampaignArgs(PageArgs):
    """Which campaigns."""

    state = ma.fields.String(load_default=None, validate=ma.validate.OneOf(list(map(str, CampaignState))))


class RecipientArgs(PageArgs):
    """Which recipients."""

    state = ma.fields.String(load_default=None, validate=ma.validate.OneOf(list(map(str, STATES))))
    forecast = ma.fields.String(load_default=None, validate=ma.validate.OneOf(list(map(str, Outcome))))
    code = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(1, 100),
        metadata={"description": "Why it was not sent, or failed; `failures` of the campaign has the codes"},
    )


@blueprint.route("/campaigns", methods=["POST"])
@blueprint.arguments(CampaignIn)
@blueprint.alt_response(201, schema=CampaignStatsOut, description="A draft, or scheduled if it has a time")
@blueprint.doc(parameters=DOCUMENTED)
def create(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Write a campaign. Without `scheduled_for` it is a draft, and starts when it is started."""
    me = caller()
    new = drafting.NewCampaign(**in_millionths(body))
    return once(lambda session: _shown(session, drafting.create(session, me.workspace_id, new, actor=me.name)), 201)


@blueprint.route("/campaigns")
@blueprint.arguments(CampaignArgs, location="query")
@blueprint.alt_response(200, schema=CampaignPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List campaigns, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    state = CampaignState(args["state"]) if args["state"] else None
    with transaction() as session:
        rows = drafting.listed(
            session,
            caller().workspace_id,
            state=state,
            before=before[0] if before else None,
            limit=args["limit"] + 1,
        )
        return page(rows, args["limit"], dump_campaign, lambda campaign: (campaign.id,))


@blueprint.route("/campaigns/<uuid:campaign_id>")
@blueprint.alt_response(200, schema=CampaignStatsOut)
def get(campaign_id: uuid.UUID) -> dict[str, Any]:
    """Look at a campaign: its state, its figures, its forecast."""
    with transaction() as session:
        return _shown(session, states.get(session, caller().workspace_id, campaign_id))


@blueprint.route("/campaigns/<uuid:campaign_id>", methods=["PATCH"])
@blueprint.arguments(CampaignChange)
@blueprint.alt_response(200, schema=CampaignStatsOut)
def change(body: dict[str, Any], campaign_id: uuid.UUID) -> dict[str, Any]:
    """Change a campaign. Its message, audience and time only before it starts; name, guards and budget at any time."""
    me = caller()
    with transaction() as session:
        values = in_millionths(body)
        return _shown(session, drafting.change(session, me.workspace_id, campaign_id, values, actor=me.name))


@blueprint.route("/campaigns/<uuid:campaign_id>", methods=["DELETE"])
@blueprint.alt_response(204, description="It is gone, with its plan")
def delete(campaign_id: uuid.UUID) -> tuple[str, int]:
    """Throw away a campaign that has not started; one that has is history, and can be cancelled."""
    me = caller()
    with transaction() as session:
        drafting.delete(session, me.workspace_id, campaign_id, actor=me.name)
    return "", 204


@blueprint.route("/campaigns/<uuid:campaign_id>/rehearse", methods=["POST"])
@blueprint.alt_response(202, schema=CampaignStatsOut, description="The forecast is being made: see `rehearsal`")
def rehearse(campaign_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Plan a campaign and forecast what becomes of each recipient, how long it takes, what it costs."""
    me = caller()
    with transaction() as session:
        campaign, job_id = rehearsal.ask(session, me.workspace_id, campaign_id, actor=me.name)
        return _shown(session, campaign, job_id), 202


@blueprint.route("/campaigns/<uuid:campaign_id>/test", methods=["POST"])
@blueprint.arguments(TestIn)
@blueprint.alt_response(202, schema=MessageOut, description="Accepted: it is kept and will be sent")
@blueprint.doc(parameters=DOCUMENTED)
def test(body: dict[str, Any], campaign_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Send the message to yourself, with your contact's values; what is missing is shown in brackets."""
    me = caller()
    return once(lambda session: dump_message(trial.send(session, me.workspace_id, campaign_id, body["to"])))


@blueprint.route("/campaigns/<uuid:campaign_id>/start", methods=["POST"])
@blueprint.alt_response(200, schema=CampaignStatsOut)
def start(campaign_id: uuid.UUID) -> dict[str, Any]:
    """Start a campaign; one with a time ahead starts at that time. Started twice, it starts once."""
    return _act("start", campaign_id)


@blueprint.route("/campaigns/<uuid:campaign_id>/pause", methods=["POST"])
@blueprint.alt_response(200, schema=CampaignStatsOut)
def pause(campaign_id: uuid.UUID) -> dict[str, Any]:
    """Stop it within two seconds, until it is resumed."""
    return _act("pause", campaign_id)


@blueprint.route("/campaigns/<uuid:campaign_id>/resume", methods=["POST"])
@blueprint.alt_response(200, schema=CampaignStatsOut)
def resume(campaign_id: uuid.UUID) -> dict[str, Any]:
    """Let a paused campaign go on."""
    return _act("resume", campaign_id)


@blueprint.route("/campaigns/<uuid:campaign_id>/continue", methods=["POST"])
@blueprint.alt_response(200, schema=CampaignStatsOut)
def go_on(campaign_id: uuid.UUID) -> dict[str, Any]:
    """Let a campaign go on that a guard or its budget has halted."""
    return _act("continue", campaign_id)


@blueprint.route("/campaigns/<uuid:campaign_id>/cancel", methods=["POST"])
@blueprint.alt_response(200, schema=CampaignStatsOut)
def cancel(campaign_id: uuid.UUID) -> dict[str, Any]:
    """End it: who was not sent to will not be; what is under way finishes."""
    return _act("cancel", campaign_id)


@blueprint.route("/campaigns/<uuid:campaign_id>/retry-failed", methods=["POST"])
@blueprint.arguments(RetryIn, required=False)
@blueprint.alt_response(202, schema=CampaignStatsOut, description="Accepted: they will be sent again")
def retry_failed(body: dict[str, Any], campaign_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Send again what has failed, of some codes or all. What may have arrived is not sent again."""
    me = caller()
    with transaction() as session:
        codes = body.get("codes", ())
        campaign, job_id = retrying.ask(session, me.workspace_id, campaign_id, codes, actor=me.name)
        return _shown(session, campaign, job_id), 202


@blueprint.route("/campaigns/<uuid:campaign_id>/recipients")
@blueprint.arguments(RecipientArgs, location="query")
@blueprint.alt_response(200, schema=RecipientPage)
def recipients_listed(args: dict[str, Any], campaign_id: uuid.UUID) -> dict[str, Any]:
    """List recipients in the order in which they are sent to."""
    after = decode(args["cursor"], uuid.UUID) or (BEFORE_FIRST,)
    which = Which(
        state=MessageState(args["state"]) if args["state"] else None,
        forecast=Outcome(args["forecast"]) if args["forecast"] else None,
        code=args["code"],
    )
    with transaction() as session:
        campaign = states.get(session, caller().workspace_id, campaign_id)
        rows = recipients.listed(session, campaign.id, which, after=after[0], limit=args["limit"] + 1)
        return page(rows, args["limit"], dump_recipient, lambda row: (row.contact_id,))


@blueprint.route("/campaigns/<uuid:campaign_id>/differences")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=DifferencePage)
def differences(args: dict[str, Any], campaign_id: uuid.UUID) -> dict[str, Any]:
    """List for whom it came otherwise than the rehearsal had said, with the cause."""
    after = decode(args["cursor"], uuid.UUID) or (BEFORE_FIRST,)
    with transaction() as session:
        campaign = states.get(session, caller().workspace_id, campaign_id)
        rows = recipients.differences(session, campaign.id, after=after[0], limit=args["limit"] + 1)
        return page(rows, args["limit"], dump_difference, lambda row: (row.contact_id,))


def _act(action: str, campaign_id: uuid.UUID) -> dict[str, Any]:
    me = caller()
    with transaction() as session:
        return _shown(session, _ACTIONS[action](session, me.workspace_id, campaign_id, actor=me.name))


def _shown(session: Session, campaign: Campaign, job_id: uuid.UUID | None = None) -> dict[str, Any]:
    return dump_stats(campaign, progress.shown(session, campaign), rehearsal.samples(session, campaign), job_id=job_id)
