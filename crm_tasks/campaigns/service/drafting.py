"""Campaigns written and changed: everything that could be wrong is said now, by field."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE, Campaign, CampaignState, Recipient
from crm_tasks.campaigns.service import composing, lifecycle, planning, states
from crm_tasks.campaigns.service.guards import GUARDS
from crm_tasks.contacts import audience
from crm_tasks.core.db import dumps, now
from crm_tasks.core.jobs.enqueue import current_trace
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.messages.service.hours import instant
from crm_tasks.messages.service.outbox import due_at
from crm_tasks.workspaces import service as workspaces

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    """What a campaign is made of.

    Args:
        scheduled_for: when it starts; without a zone it is a local time in `time_zone`.
        budget: the most that it may cost, in millionths.
    """

    name: str
    channel_id: uuid.UUID
    message: Mapping[str, Any]
    audience: Mapping[str, Any]
    scheduled_for: datetime | None = None
    time_zone: str | None = None
    budget: int | None = None
    guards: Mapping[str, Any] = field(default_factory=dict)


def create(session: Session, workspace_id: uuid.UUID, new: NewCampaign, *, actor: str) -> Campaign:
    """Make a campaign. With a time, it starts by itself then; without, it is a draft.

    Raises:
        NotFound: no such channel, segment or e-mail template here. Invalid, Conflict: see `composing.checked`.
    """
    channel = workspaces.channel(session, workspace_id, new.channel_id)
    audience.select(session, workspace_id, new.audience)
    campaign = Campaign(
        id=new_id(),
        workspace_id=workspace_id,
        name=new.name.strip(),
        channel_id=channel.id,
        message=composing.checked(session, channel, new.message),
        audience=_plain(new.audience),
        state=CampaignState.DRAFT,
        time_zone=new.time_zone,
        guards={**GUARDS, **new.guards},
        budget=new.budget,
        created_by=actor,
        trace_id=current_trace.get(),
    )
    session.add(campaign)
    session.flush()
    if new.scheduled_for is not None:
        _schedule(session, campaign, new.scheduled_for)
    session.refresh(campaign)
    log.info("campaign.created", campaign_id=str(campaign.id), actor=actor)
    return campaign


def change(
    session: Session, workspace_id: uuid.UUID, campaign_id: uuid.UUID, values: Mapping[str, Any], *, actor: str
) -> Campaign:
    """Change what is given. The message, the audience and the time only before it starts; then it is planned anew.

    Raises:
        NotFound, Invalid: as in `create`. Conflict: it has started.
    """
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    late = {"message", "audience", "scheduled_for", "time_zone"} & values.keys()
    if late and campaign.state not in BEFORE:
        raise states.conflict(campaign, f"its {min(late)} cannot be changed any more")
    channel = workspaces.channel(session, workspace_id, campaign.channel_id)
    if "audience" in values:
        audience.select(session, workspace_id, values["audience"])
        campaign.audience = _plain(values["audience"])
    if "message" in values:
        campaign.message = composing.checked(session, channel, values["message"])
    if {"message", "audience"} & values.keys():
        planning.forget(campaign)
    campaign.name = values.get("name", campaign.name).strip()
    campaign.guards = {**campaign.guards, **values.get("guards", {})}
    if "budget" in values:
        campaign.budget, campaign.budget_asked = values["budget"], None
    campaign.time_zone = values.get("time_zone", campaign.time_zone)
    if "scheduled_for" in values:
        _schedule(session, campaign, values["scheduled_for"])
    session.flush()
    log.info("campaign.changed", campaign_id=str(campaign.id), actor=actor, fields=sorted(values))
    return campaign


def delete(session: Session, workspace_id: uuid.UUID, campaign_id: uuid.UUID, *, actor: str) -> None:
    """Throw away a campaign that has not started, with its plan.

    Raises:
        NotFound: no such campaign here. Conflict: it has started, or it was cancelled: it is history.
    """
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    if campaign.state not in BEFORE:
        raise states.conflict(campaign, "only one that has not started can be deleted")
    session.execute(sa.delete(Recipient).where(Recipient.campaign_id == campaign.id))
    session.delete(campaign)
    session.flush()
    log.info("campaign.deleted", campaign_id=str(campaign_id), actor=actor)


def listed(
    session: Session,
    workspace_id: uuid.UUID | None = None,
    *,
    state: CampaignState | None = None,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[Campaign]:
    """Return campaigns, the newest first."""
    query = sa.select(Campaign).order_by(Campaign.id.desc()).limit(limit)
    if workspace_id is not None:
        query = query.where(Campaign.workspace_id == workspace_id)
    if state is not None:
        query = query.where(Campaign.state == state)
    return list(session.scalars(query.where(Campaign.id < before) if before else query))


def _schedule(session: Session, campaign: Campaign, at: datetime | None) -> None:
    """Have it start at a time, or make it a draft again."""
    moment: datetime = session.scalars(sa.select(now())).one()
    campaign.scheduled_for = due_at(_absolute(at, campaign.time_zone), moment) if at else None
    to = CampaignState.SCHEDULED if campaign.scheduled_for else CampaignState.DRAFT
    if campaign.state is not to:
        states.move(session, campaign, to, campaign.created_by)
    session.flush()
    if campaign.scheduled_for is not None:
        lifecycle.ask_start(session, campaign)
    elif at is not None:
        lifecycle.begin(session, campaign, campaign.created_by)  # what is past is now


def _absolute(at: datetime, time_zone: str | None) -> datetime:
    """Return a local time as an instant: one that daylight saving skips is the first after it, of two the first."""
    if at.tzinfo is not None:
        return at
    return instant(at.date(), at.time(), ZoneInfo(time_zone or "UTC"), first=True)


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an audience as JSON keeps it."""
    return orjson.loads(dumps(value))
