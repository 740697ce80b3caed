"""The failed, sent again: each gets a new message by an ordinary job, and keeps the one that failed in its history.

Only what has definitely failed. What is unknown may have arrived, and is never sent again from here.
"""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.campaigns.service import lifecycle, states
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.enqueue import NewJob, enqueue, enqueue_many
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.messages.service import outbox
from crm_tasks.providers import registry
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

BATCH = 500
_FAILED = """
    SELECT m.id, m.job_id, m.conversation_id, m.contact_id
    FROM recipients r JOIN messages m ON m.id = r.message_id
    WHERE r.campaign_id = :campaign AND r.message_id <= :until AND m.state = 'failed'
      AND (cardinality(cast(:codes AS text[])) = 0 OR m.error ->> 'code' = ANY(:codes))
    ORDER BY r.message_id LIMIT :most FOR UPDATE OF r
"""
_AGAIN = """
    INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, type, content,
        text, author, occurred_at, media_id, trace_id, category, parts, fallback, job_id)
    SELECT given.id, m.workspace_id, m.channel_id, m.conversation_id, m.contact_id, m.direction, 'queued', m.type,
        m.content, m.text, m.author, crm_now(), m.media_id, m.trace_id, m.category, m.parts, m.fallback, given.job_id
    FROM unnest(cast(:old AS uuid[]), cast(:new AS uuid[]), cast(:jobs AS uuid[])) AS given (old, id, job_id)
    JOIN messages m ON m.id = given.old
"""
_TAKE = """
    UPDATE recipients r SET message_id = given.id
    FROM unnest(cast(:old AS uuid[]), cast(:new AS uuid[])) AS given (old, id)
    WHERE r.campaign_id = :campaign AND r.message_id = given.old
"""


def ask(
    session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, codes: Sequence[str], *, actor: str
) -> tuple[Campaign, uuid.UUID]:
    """Have the failed sent again, of these codes or all; returns the campaign, which runs again, and the job.

    Raises:
        NotFound: no such campaign here. Conflict: it has not started, or it is cancelled.
    """
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    if campaign.started_at is None or campaign.state is CampaignState.CANCELLED:
        raise states.conflict(campaign, "there is nobody to retry")
    job_id = enqueue(
        session,
        "campaigns.retry_failed",
        # What fails again from now on is not retried once more, for ever.
        args={"campaign_id": campaign.id, "codes": sorted(set(codes)), "until": new_id()},
        workspace_id=campaign.workspace_id,
        scopes=[campaign.scope],
        serial_key=f"retry:{campaign.id}",
        trace=campaign.trace_id,
    )
    log.info("campaign.retry_asked", campaign_id=str(campaign.id), actor=actor, codes=len(codes))
    return campaign, job_id


def retry_on(session: Session, campaign_id: uuid.UUID, codes: Sequence[str], until: uuid.UUID) -> int:
    """Send a batch of the failed again, and return how many; asked until none are left."""
    campaign = states.get(session, None, campaign_id, lock=True)
    if campaign.state is CampaignState.CANCELLED:
        return 0
    values = {"campaign": campaign.id, "until": until, "codes": list(codes), "most": BATCH}
    failed = session.execute(sa.text(_FAILED), values).all()
    if not failed:
        return 0
    lifecycle.run_again(session, campaign, actor="retry")
    old, new = [row.id for row in failed], [new_id() for _ in failed]
    provider = registry.provider(session.get_one(Channel, campaign.channel_id).kind)
    jobs = enqueue_many(
        session,
        [
            NewJob(
                task=provider.task,
                args={"message_id": message_id},
                workspace_id=campaign.workspace_id,
                scopes=[campaign.scope, *outbox.scopes(campaign.channel_id, row.conversation_id, row.contact_id)],
                serial_key=f"send:{row.conversation_id}",
                trace=campaign.trace_id or message_id,
            )
            for row, message_id in zip(failed, new, strict=True)
        ],
    )
    session.execute(sa.text(_AGAIN), {"old": old, "new": new, "jobs": jobs})
    session.execute(sa.text(_TAKE), {"campaign": campaign.id, "old": old, "new": new})
    # Retried from the dead letters too, a person would have it twice.
    repair.bury(session, [row.job_id for row in failed if row.job_id], reason="sent again by its campaign")
    return len(failed)
