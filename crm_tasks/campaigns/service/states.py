"""Steps from state to state, by the one table of transitions, and the hold that stops a campaign everywhere."""

import uuid
from contextlib import suppress
from datetime import datetime

from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import TRANSITIONS, Campaign, CampaignState
from crm_tasks.core import holds
from crm_tasks.core.errors import Conflict, NotFound
from crm_tasks.core.log import get_logger

log = get_logger(__name__)

_INSTEAD = {
    CampaignState.DRAFT: "Start it first.",
    CampaignState.SCHEDULED: "It starts by itself at its time.",
    CampaignState.PAUSED: "Resume it, or cancel it.",
    CampaignState.HALTED: "See `halted_by`; `continue` lets it go on.",
    CampaignState.FINISHED: "Make a new campaign, or retry the failed.",
    CampaignState.CANCELLED: "Make a new campaign.",
}


def get(session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, *, lock: bool = False) -> Campaign:
    """Return a campaign of a workspace; None is any.

    Raises:
        NotFound: no such campaign here.
    """
    campaign = session.get(Campaign, campaign_id, with_for_update=lock or None, populate_existing=True)
    if campaign is None or workspace_id not in (None, campaign.workspace_id):
        raise NotFound(f"There is no campaign {campaign_id}.", code="campaign_not_found")
    return campaign


def allow(campaign: Campaign, to: CampaignState) -> None:
    """Refuse a step that the table does not have.

    Raises:
        Conflict: says what can be done instead.
    """
    if to not in TRANSITIONS[campaign.state]:
        raise conflict(campaign, f"it cannot become {to}")


def move(session: Session, campaign: Campaign, to: CampaignState, actor: str) -> None:
    """Take a step."""
    allow(campaign, to)
    log.info("campaign.moved", campaign_id=str(campaign.id), before=campaign.state, after=to, actor=actor)
    if to not in (CampaignState.PAUSED, CampaignState.HALTED):
        campaign.hold_id, campaign.halted_by = None, None
    campaign.state = to


def conflict(campaign: Campaign, why: str) -> Conflict:
    """Return what is said to somebody who asks for what the state does not allow."""
    return Conflict(
        f"The campaign is {campaign.state}: {why}.",
        code=f"campaign_{campaign.state}",
        hint=_INSTEAD.get(campaign.state, ""),
    )


def stop(session: Session, campaign: Campaign, to: CampaignState, *, reason: str, actor: str) -> None:
    """Stop a campaign, and hold all that is its own."""
    # Both at once: a campaign is never one without the other.
    hold = place(session, campaign, reason, actor)
    campaign.hold_id = hold
    move(session, campaign, to, actor)
    session.flush()


def place(
    session: Session, campaign: Campaign, reason: str, actor: str, *, expires_at: datetime | None = None
) -> uuid.UUID:
    """Hold all that is a campaign's, and return the hold."""
    return holds.place(
        session,
        campaign.scope,
        reason=reason,
        actor=actor,
        workspace_id=campaign.workspace_id,
        expires_at=expires_at,
    ).id


def release(session: Session, campaign: Campaign, actor: str) -> None:
    """Release its own hold; one that somebody else placed stays, and one that somebody released is over."""
    if campaign.hold_id is not None:
        with suppress(Conflict, NotFound):
            holds.release(session, campaign.hold_id, actor=actor)
