"""What people do with a campaign: start it at once or at its time, pause, resume, let go on, cancel.

What was done already is answered as it is and done no second time. Stopping is a hold on the campaign's scope: it binds
wherever its jobs are claimed, within two seconds.
"""

import uuid
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE, Campaign, CampaignState
from crm_tasks.campaigns.service import guards, states, supervising
from crm_tasks.core.db import now
from crm_tasks.core.jobs.enqueue import enqueue

# How long a cancelled campaign is held: its pumps look more often, and nothing is left to hold then.
_ENDS = timedelta(minutes=5)


def start(session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, *, actor: str) -> Campaign:
    """Start a campaign, or have it start at its time. Once started, this changes nothing.

    Raises:
        NotFound: no such campaign here. Conflict: it is paused, halted or cancelled.
    """
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    if campaign.state in (CampaignState.RUNNING, CampaignState.FINISHED):
        return campaign
    if campaign.state not in BEFORE:
        raise states.conflict(campaign, "it cannot be started")
    if not _is_due(session, campaign):
        return campaign
    begin(session, campaign, actor)
    return campaign


def start_due(session: Session, campaign_id: uuid.UUID) -> bool:
    """Start a campaign whose time has come; False if it was started, moved, cancelled or deleted meanwhile."""
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None or campaign.state is not CampaignState.SCHEDULED:
        return False
    if not _is_due(session, campaign):
        ask_start(session, campaign)
        return False
    begin(session, campaign, "schedule")
    return True


def pause(session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, *, actor: str) -> Campaign:
    """Stop a running campaign until it is resumed.

    Raises:
        NotFound: no such campaign here. Conflict: it does not run.
    """
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    if campaign.state is not CampaignState.PAUSED:
        states.allow(campaign, CampaignState.PAUSED)
        states.stop(session, campaign, CampaignState.PAUSED, reason=f"{campaign.name} is paused", actor=actor)
    return campaign


def resume(session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, *, actor: str) -> Campaign:
    """Let a paused campaign go on.

    Raises:
        NotFound: no such campaign here. Conflict: it is not paused.
    """
    return _on(session, workspace_id, campaign_id, CampaignState.PAUSED, actor)


def go_on(session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, *, actor: str) -> Campaign:
    """Let a halted campaign go on: its guards look only at what comes from now on.

    Raises:
        NotFound: no such campaign here. Conflict: it is not halted.
    """
    return _on(session, workspace_id, campaign_id, CampaignState.HALTED, actor)


def cancel(session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, *, actor: str) -> Campaign:
    """End a campaign: who was not sent to will not be. What is under way finishes.

    Raises:
        NotFound: no such campaign here. Conflict: it is finished.
    """
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    if campaign.state is CampaignState.CANCELLED:
        return campaign
    states.allow(campaign, CampaignState.CANCELLED)
    if campaign.started_at is not None:
        states.release(session, campaign, actor)
        ends = session.scalars(sa.select(now() + _ENDS)).one()
        states.place(session, campaign, f"{campaign.name} is cancelled", actor, expires_at=ends)
    states.move(session, campaign, CampaignState.CANCELLED, actor)
    campaign.finished_at = session.scalar(sa.select(now()))
    session.flush()
    supervising.ask_withdraw(session, campaign)
    return campaign


def run_again(session: Session, campaign: Campaign, *, actor: str) -> None:
    """Let a finished campaign run again: some of its recipients are sent to once more."""
    if campaign.state is CampaignState.FINISHED:
        states.move(session, campaign, CampaignState.RUNNING, actor)
        guards.reset(session, campaign)
        campaign.finished_at = None
        session.flush()
        supervising.ask(session, campaign)


def begin(session: Session, campaign: Campaign, actor: str) -> None:
    """Let a campaign run."""
    states.move(session, campaign, CampaignState.RUNNING, actor)
    campaign.started_at = session.scalar(sa.select(now()))
    session.flush()
    # A plan from its rehearsal is the plan that is carried out.
    supervising.ask(session, campaign)


def ask_start(session: Session, campaign: Campaign) -> None:
    """Have a campaign started at its time."""
    enqueue(
        session,
        "campaigns.start",
        args={"campaign_id": campaign.id},
        workspace_id=campaign.workspace_id,
        scopes=[campaign.scope],
        priority=2,
        run_at=campaign.scheduled_for,
        unique_key=f"start:{campaign.id}",
        trace=campaign.trace_id,
    )


def _on(
    session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, stopped: CampaignState, actor: str
) -> Campaign:
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    if campaign.state is CampaignState.RUNNING:
        return campaign
    if campaign.state is not stopped:
        raise states.conflict(campaign, f"only one that is {stopped} can go on so")
    states.release(session, campaign, actor)
    states.move(session, campaign, CampaignState.RUNNING, actor)
    if stopped is CampaignState.HALTED:
        guards.reset(session, campaign)
    session.flush()
    supervising.ask(session, campaign)
    return campaign


def _is_due(session: Session, campaign: Campaign) -> bool:
    """Say whether its time has come; it has if there is none."""
    return campaign.scheduled_for is None or bool(session.scalar(sa.select(now() >= campaign.scheduled_for)))
