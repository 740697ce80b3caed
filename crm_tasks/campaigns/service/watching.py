"""What a running campaign does by itself: it is looked after, halted by a guard, finished."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.campaigns.service import guards, planning, progress, states, supervising
from crm_tasks.campaigns.service.guards import Halt
from crm_tasks.core.db import now
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish


def halt(session: Session, campaign: Campaign, why: Halt) -> None:
    """Stop a running campaign until a person has looked."""
    states.allow(campaign, CampaignState.HALTED)
    campaign_id, name = campaign.id, campaign.name
    hold = states.place(session, campaign, f"{name} is halted: {why.text()}", f"guard:{why.rule}")
    campaign.halted_by = why.as_json()
    campaign.hold_id = hold
    states.move(session, campaign, CampaignState.HALTED, f"guard:{why.rule}")
    session.flush()
    notifications.notify(
        session,
        campaign.workspace_id,
        "campaign.halted",
        title=f"{name} was halted",
        text=f"{why.text()}. Nothing more is sent until you let it go on or cancel it; nobody is lost.",
        severity=Severity.ERROR,
        subject=campaign.scope,
        link=f"/admin/campaigns/{campaign_id}",
    )


def finish(session: Session, campaign: Campaign) -> None:
    """End a campaign that has nobody left, and tell of it."""
    states.move(session, campaign, CampaignState.FINISHED, "system")
    campaign.finished_at = session.scalar(sa.select(now()))
    session.flush()
    stats = progress.count(session, campaign)
    data = {"campaign_id": campaign.id, "name": campaign.name, "audience": stats.audience, "counts": dict(stats.states)}
    publish(session, campaign.workspace_id, EventType.CAMPAIGN_FINISHED, data)
    told = ", ".join(f"{count} {name}" for name, count in stats.states.items() if count)
    notifications.notify(
        session,
        campaign.workspace_id,
        "campaign.finished",
        title=f"{campaign.name} is finished",
        text=f"{stats.audience} recipients: {told or 'nobody was meant'}.",
        severity=Severity.INFO,
        subject=campaign.scope,
        link=f"/admin/campaigns/{campaign.id}",
    )


def supervise(session: Session, campaign_id: uuid.UUID) -> None:
    """Look after a running campaign: halt it, finish it, or see that its pumps are there; and look again soon."""
    campaign = states.get(session, None, campaign_id)
    if campaign.state is not CampaignState.RUNNING:
        return
    planned = campaign.planned_at is not None
    # Asked without the lock, which pumps and people want too.
    why = guards.broken(session, campaign) if planned else None
    over = planned and why is None and progress.is_over(session, campaign)
    campaign = states.get(session, None, campaign_id, lock=True)
    if campaign.state is not CampaignState.RUNNING:
        return
    if why is not None:
        halt(session, campaign, why)
    elif over:
        finish(session, campaign)
    else:
        if planned:
            guards.look_at_canary(session, campaign)
            if guards.may_send(session, campaign) and progress.is_planned(session, campaign):
                supervising.pump(session, campaign)
        else:
            planning.ask(session, campaign)
        supervising.ask(session, campaign, again=True)
