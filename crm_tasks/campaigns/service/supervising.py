"""Who watches over a running campaign: its pumps are there, its guards are asked, its end is noticed."""

import math
import uuid
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState, Recipient
from crm_tasks.config import settings
from crm_tasks.core.db import now
from crm_tasks.core.jobs.enqueue import NewJob, enqueue, enqueue_many
from crm_tasks.core.queues import Queue
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.service import pacing
from crm_tasks.providers import registry
from crm_tasks.workspaces.models import Channel

# How often it is looked after, and how long after its end a cancelled one is.
EVERY = timedelta(seconds=2)
_CANCELLED_FOR = timedelta(days=1)
# What one pump brings out in a second; how many a process has at most, whose one interpreter more would share; and how
# many a campaign has.
PER_LANE, PER_PROCESS, MOST_LANES = 500, 2, 16
_PROCESSES = """
    SELECT count(*) FROM processes
    WHERE kind = 'worker' AND stopped_at IS NULL AND seen_at > now() - :lease AND :queue = ANY(queues)
"""
# Each half by an index of its own: what is over is never looked at. One that its worker's death has put off does not
# count, or the campaign would stand still so long; unless so many workers died of it that it may be to blame.
_PRESENT = """
    SELECT serial_key FROM jobs WHERE state = 'running' AND serial_key = ANY(:keys)
    UNION SELECT serial_key FROM jobs WHERE state = 'queued' AND serial_key = ANY(:keys)
    GROUP BY serial_key HAVING bool_or(crashes = 0 OR run_at <= crm_now()) OR sum(crashes) >= :poison
"""
# Before the pumps, which are many.
_PRIORITY = 3


def ask(session: Session, campaign: Campaign, *, again: bool = False) -> uuid.UUID:
    """Have a campaign looked after: at once, or again in two seconds."""
    return enqueue(
        session,
        "campaigns.supervise",
        args={"campaign_id": campaign.id},
        workspace_id=campaign.workspace_id,
        scopes=[campaign.scope],
        priority=_PRIORITY,
        run_at=session.scalar(sa.select(now() + EVERY)) if again else None,
        unique_key=f"supervise:{campaign.id}",
        serial_key=f"supervise:{campaign.id}",
        keep=timedelta(hours=1),
        trace=campaign.trace_id,
    )


def lanes(session: Session, channel: Channel) -> int:
    """Return how many pumps the rate of a channel needs, of those that the processes can have."""
    rate = pacing.per_second(registry.provider(channel.kind), channel.settings)
    wanted = MOST_LANES if rate is None else math.ceil(rate / PER_LANE)
    if wanted > PER_PROCESS:
        values = {"lease": settings().lease, "queue": Queue.CAMPAIGNS}
        processes = session.scalar(sa.text(_PROCESSES), values) or 1
        wanted = min(wanted, PER_PROCESS * processes, MOST_LANES)
    return max(1, wanted)


def pump(session: Session, campaign: Campaign) -> int:
    """Enqueue the pumps that are missing, and return how many."""
    channel = session.get_one(Channel, campaign.channel_id)
    keys = {lane: pump_key(campaign.id, lane) for lane in range(lanes(session, channel))}
    values = {"keys": list(keys.values()), "poison": settings().queues[Queue.CAMPAIGNS].poison_after}
    present = set(session.scalars(sa.text(_PRESENT), values))
    missing = [lane for lane, key in keys.items() if key not in present]
    enqueue_many(session, [new_pump(campaign, lane) for lane in missing])
    return len(missing)


def hand_on(
    session: Session, campaign_id: uuid.UUID, lane: int, *, after: int, wait: timedelta | None, over: bool
) -> None:
    """Enqueue the successor of a pump, behind all others; once nobody is left, whoever looks after it is asked."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or campaign.state is not CampaignState.RUNNING:
        return
    if over and after == 0:
        ask(session, campaign)
        return
    if lane >= lanes(session, session.get_one(Channel, campaign.channel_id)):
        return  # there are fewer processes than when it was begun
    # The end is believed only from the beginning: others may have left somebody behind on the way.
    begin = 0 if over else after
    run_at = session.scalar(sa.select(now() + wait)) if wait else None
    enqueue_many(session, [replace(new_pump(campaign, lane, after=begin), run_at=run_at)])


def new_pump(campaign: Campaign, lane: int, *, after: int = 0) -> NewJob:
    """Return the job that sends to the next recipients of one lane, from behind a position on."""
    return NewJob(
        task="campaigns.pump",
        args={"campaign_id": campaign.id, "lane": lane, "after": after},
        workspace_id=campaign.workspace_id,
        scopes=[campaign.scope, f"channel:{campaign.channel_id}"],
        unique_key=pump_key(campaign.id, lane),
        serial_key=pump_key(campaign.id, lane),
        keep=timedelta(hours=1),
        trace=campaign.trace_id,
    )


def pump_key(campaign_id: uuid.UUID, lane: int) -> str:
    """Return the key that the pumps of one lane share."""
    return f"pump:{campaign_id}:{lane}"


def ask_all(session: Session) -> int:
    """Have every running campaign looked after, and every cancelled one that is left with somebody planned."""
    running = session.scalars(sa.select(Campaign).where(Campaign.state == sa.literal_column("'running'"))).all()
    for campaign in running:
        ask(session, campaign)
    planned = sa.exists().where(
        Recipient.campaign_id == Campaign.id,
        Recipient.state == sa.literal_column(f"'{MessageState.PLANNED}'"),
        Recipient.message_id.is_(None),
    )
    left = sa.select(Campaign).where(
        Campaign.state == CampaignState.CANCELLED, Campaign.finished_at > now() - _CANCELLED_FOR, planned
    )
    for campaign in session.scalars(left).all():
        ask_withdraw(session, campaign)
    return len(running)


def ask_withdraw(session: Session, campaign: Campaign) -> uuid.UUID:
    """Have what waits of a cancelled campaign cancelled too. Not in its scope: that is held."""
    return enqueue(
        session,
        "campaigns.withdraw",
        args={"campaign_id": campaign.id},
        workspace_id=campaign.workspace_id,
        priority=_PRIORITY,
        unique_key=f"withdraw:{campaign.id}",
        trace=campaign.trace_id,
    )
