"""What waits of a cancelled campaign is cancelled too, set by set. What is under way finishes."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.campaigns.service.supervising import MOST_LANES, pump_key
from crm_tasks.core.jobs import repair

BATCH = 5_000
_REASON = "the campaign was cancelled"
_PLANNED = """
    UPDATE recipients SET state = 'cancelled'
    WHERE campaign_id = :campaign AND state = 'planned' AND message_id IS NULL AND position IN (
        SELECT position FROM recipients
        WHERE campaign_id = :campaign AND state = 'planned' AND message_id IS NULL ORDER BY position LIMIT :most)
    RETURNING position
"""
# Domain rows first and jobs last: a send that is claimed in between finds nothing to send.
_WAITING = """
    UPDATE messages SET state = 'cancelled' WHERE state = 'queued' AND id IN (
        SELECT m.id FROM messages m WHERE m.state IN ('planned', 'queued', 'sending', 'unknown')
          AND m.state = 'queued' AND m.id IN (
            SELECT message_id FROM recipients WHERE campaign_id = :campaign AND message_id IS NOT NULL)
        ORDER BY m.id LIMIT :most FOR UPDATE)
    RETURNING job_id
"""
_OWN = """
    SELECT id FROM jobs WHERE state = 'queued' AND serial_key = ANY(:keys)
    UNION SELECT id FROM jobs WHERE state = 'queued' AND unique_key = ANY(:unique)
"""


def withdraw(session: Session, campaign_id: uuid.UUID) -> bool:
    """Cancel a batch of what waits; False once nothing does."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or campaign.state is not CampaignState.CANCELLED:
        return False
    values = {"campaign": campaign_id, "most": BATCH}
    if session.execute(sa.text(_PLANNED), values).first() is not None:
        return True
    jobs = list(session.scalars(sa.text(_WAITING), values))
    if jobs:
        repair.cancel_waiting(session, [each for each in jobs if each], actor="system", reason=_REASON)
        return True
    repair.cancel_waiting(session, _own_jobs(session, campaign_id), actor="system", reason=_REASON)
    return False


def _own_jobs(session: Session, campaign_id: uuid.UUID) -> list[uuid.UUID]:
    """Return the jobs of the campaign itself that wait: pumps, plan, start, supervision."""
    serial = [pump_key(campaign_id, lane) for lane in range(MOST_LANES)]
    serial += [f"{kind}:{campaign_id}" for kind in ("plan", "supervise")]
    return list(session.scalars(sa.text(_OWN), {"keys": serial, "unique": [f"start:{campaign_id}"]}))
