"""A pump for tests of all that is around the pump: it sends to one after the other, by ordinary jobs."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, Recipient
from crm_tasks.campaigns.service import composing, guards, verdicts
from crm_tasks.celery import app
from crm_tasks.core.db import dumps
from crm_tasks.core.jobs import registry
from crm_tasks.core.task import finishing
from crm_tasks.messages.service import gates, outbox
from crm_tasks.messages.service.conversations import conversation
from crm_tasks.messages.service.look import prospects
from crm_tasks.workspaces.models import Channel

MOST = 200


def pump_once(session: Session, campaign_id: uuid.UUID) -> int:
    """Send to the next recipients, and return how many were drawn."""
    campaign = session.get_one(Campaign, campaign_id)
    channel = session.get_one(Channel, campaign.channel_id)
    query = (
        sa.select(Recipient)
        .where(
            Recipient.campaign_id == campaign.id,
            Recipient.state == "planned",
            Recipient.message_id.is_(None),
            Recipient.position <= guards.horizon(campaign),
        )
        .order_by(Recipient.position)
        .limit(MOST)
        .with_for_update()
    )
    drawn = list(session.scalars(query))
    ids = [each.contact_id for each in drawn]
    category = composing.category(session, channel, campaign)
    looks = {
        each.row.contact_id: each
        for each in prospects(
            session,
            channel.id,
            ids,
            type=campaign.type,
            content=campaign.content,
            category=category,
            author="campaign",
        )
    }
    people = verdicts.people(session, looks.values())
    for each in drawn:
        verdict = verdicts.judge(session, looks[each.contact_id], campaign.content, people[each.contact_id])
        if verdict.content is None:
            _refuse(session, each, verdict)
            continue
        if not guards.afford(session, campaign, [gates.cost_of(looks[each.contact_id]) or 0]):
            break
        new = outbox.NewMessage(type=campaign.type, content=verdict.content, author="campaign", category=category)
        where = conversation(session, channel, each.contact_id)
        each.message_id = outbox.send_in(session, channel, where, each.contact_id, new).id
        session.flush()
    return len(drawn)


def _refuse(session: Session, each: Recipient, verdict: verdicts.Verdict) -> None:
    assert verdict.finding is not None
    session.execute(
        sa.text("UPDATE recipients SET state = 'suppressed', reason = cast(:r AS jsonb) WHERE campaign_id = :c "
                "AND contact_id = :p"),
        {"r": dumps(verdict.finding.as_json()), "c": each.campaign_id, "p": each.contact_id},
    )  # fmt: skip


def register() -> None:
    """Make it the pump, if there is no other."""
    if "campaigns.pump" in registry.task_names():
        return

    @app.task(name="campaigns.pump")
    def pump(campaign_id: str, lane: int) -> Any:
        with finishing() as session:
            pump_once(session, uuid.UUID(campaign_id))
