"""The plan of a campaign: its audience, written down as recipients chunk by chunk.

Each chunk is one statement behind the lock of the campaign, and the campaign remembers how far it is: whoever plans on
after a kill, or twice at once, plans each person once.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE, BEFORE_FIRST, Campaign, CampaignState, Recipient
from crm_tasks.campaigns.service import supervising
from crm_tasks.campaigns.service.verdicts import Outcome
from crm_tasks.contacts import audience
from crm_tasks.core.db import changed, dumps, now
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.log import get_logger

log = get_logger(__name__)

CHUNK = 20_000
_TWINS_AT_ONCE = 5_000
_TWINS = "SELECT id, duplicate_of FROM contacts WHERE workspace_id = :workspace AND duplicate_of IS NOT NULL"
_PLACES = "SELECT contact_id, position FROM recipients WHERE campaign_id = :campaign AND contact_id = ANY(:ids)"
_MARK = """
    UPDATE recipients SET state = 'suppressed', forecast = :outcome, reason = cast(:reason AS jsonb)
    WHERE campaign_id = :campaign AND contact_id = ANY(:ids) AND message_id IS NULL AND state = 'planned'
"""
_DUPLICATE = {"rule": Outcome.DUPLICATE, "value": "the same person as another recipient", "set_by": "the contacts"}


def ask(session: Session, campaign: Campaign) -> uuid.UUID:
    """Have a campaign planned; one that is being rehearsed is planned by that."""
    rehearse = campaign.rehearse_since is not None and campaign.rehearsal is None and campaign.state in BEFORE
    task = "campaigns.rehearse" if rehearse else "campaigns.plan"
    return enqueue(
        session,
        task,
        args={"campaign_id": campaign.id},
        workspace_id=campaign.workspace_id,
        scopes=[campaign.scope],
        unique_key=f"{task}:{campaign.id}",
        serial_key=f"plan:{campaign.id}",
        trace=campaign.trace_id,
    )


def forget(campaign: Campaign) -> None:
    """Plan from the beginning, and forget the forecast: the audience or the message has changed."""
    campaign.plan_cursor, campaign.planned_at, campaign.audience_total = None, None, 0
    campaign.rehearse_since, campaign.rehearse_cursor, campaign.rehearse_after = None, 0, None
    campaign.rehearse_sums, campaign.rehearsal, campaign.rehearsed_at = {}, None, None


def plan_on(session: Session, campaign_id: uuid.UUID, *, chunk: int = CHUNK) -> bool:
    """Plan the next chunk; False once there is nothing more to plan."""
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None or campaign.planned_at is not None:
        return False
    if campaign.state not in (*BEFORE, CampaignState.RUNNING):
        return False
    if campaign.plan_cursor is None and _clear(session, campaign, chunk):
        return True
    inserted, last = _insert(session, campaign, chunk)
    campaign.audience_total += inserted
    campaign.plan_cursor = last or campaign.plan_cursor or BEFORE_FIRST
    if inserted == chunk:
        session.flush()
        return True
    duplicates = _mark_duplicates(session, campaign)
    campaign.planned_at = session.scalar(sa.select(now()))
    session.flush()
    log.info("campaign.planned", campaign_id=str(campaign.id), recipients=campaign.audience_total, same=duplicates)
    if campaign.state is CampaignState.RUNNING:
        supervising.ask(session, campaign)
    return False


def _clear(session: Session, campaign: Campaign, most: int) -> int:
    """Remove recipients of an earlier plan, of which nobody has got anything."""
    return changed(
        session.execute(
            sa.text(
                "DELETE FROM recipients WHERE campaign_id = :campaign AND message_id IS NULL AND contact_id IN ("
                "  SELECT contact_id FROM recipients WHERE campaign_id = :campaign ORDER BY contact_id LIMIT :most)"
            ),
            {"campaign": campaign.id, "most": most},
        )
    )


def _insert(session: Session, campaign: Campaign, most: int) -> tuple[int, uuid.UUID | None]:
    """Write the next recipients, in the order of their ids; returns how many, and the last."""
    wanted = audience.select(session, campaign.workspace_id, campaign.audience).subquery("audience")
    (contact,) = wanted.c
    after = campaign.plan_cursor or BEFORE_FIRST
    chunk = sa.select(contact.label("id")).where(contact > after).order_by(contact).limit(most).subquery("chunk")
    columns: list[sa.ColumnClause[Any]] = [
        sa.column(name) for name in ("campaign_id", "contact_id", "workspace_id", "position")
    ]
    rows = sa.select(
        sa.literal(campaign.id, sa.Uuid()),
        chunk.c.id,
        sa.literal(campaign.workspace_id, sa.Uuid()),
        campaign.audience_total + sa.func.row_number().over(order_by=chunk.c.id),
    )
    insert = sa.table("recipients", *columns).insert().from_select(columns, rows)
    inserted = changed(session.execute(insert.execution_options(preserve_rowcount=True)))
    last = sa.select(Recipient.contact_id).where(Recipient.campaign_id == campaign.id)
    return inserted, session.scalar(last.order_by(Recipient.contact_id.desc()).limit(1))


def _mark_duplicates(session: Session, campaign: Campaign) -> int:
    """Leave out who is known to be the same person as another recipient; of two that name each other, the second.

    Some at a time by their ids: Postgres has no statistics of a plan just written, and one join has taken minutes.
    """
    known = session.execute(sa.text(_TWINS), {"workspace": campaign.workspace_id})
    twin: dict[uuid.UUID, uuid.UUID] = {row.id: row.duplicate_of for row in known}
    ids, marked = sorted(twin), 0
    for first in range(0, len(ids), _TWINS_AT_ONCE):
        some = ids[first : first + _TWINS_AT_ONCE]
        asked = {"campaign": campaign.id, "ids": list({*some, *(twin[each] for each in some)})}
        places = session.execute(sa.text(_PLACES), asked)
        place: dict[uuid.UUID, int] = {row.contact_id: row.position for row in places}
        same = [each for each in some if each in place and _is_second(each, twin, place)]
        values = {"campaign": campaign.id, "ids": same, "outcome": Outcome.DUPLICATE, "reason": dumps(_DUPLICATE)}
        marked += changed(session.execute(sa.text(_MARK), values)) if same else 0
    return marked


def _is_second(contact_id: uuid.UUID, twin: Mapping[uuid.UUID, uuid.UUID], place: Mapping[uuid.UUID, int]) -> bool:
    other = twin[contact_id]
    return other in place and (twin.get(other) != contact_id or place[other] < place[contact_id])
