"""What came of drawing, written down set by set: messages in their conversations, and who is left out."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.service import composing
from crm_tasks.campaigns.service.verdicts import Verdict
from crm_tasks.core.db import driver, dumps
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.jobs.enqueue import NewJob, enqueue_many
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import MessageState
from crm_tasks.messages.service import gates, outbox
from crm_tasks.messages.service.look import Look
from crm_tasks.messages.service.pacing import Start

GONE = gates.Finding("no_identity", "the contact was removed", "a contact", "the contacts")
_TALK = """
    INSERT INTO conversations (id, workspace_id, channel_id, contact_id, last_message_at)
    SELECT given.id, %(workspace)s, %(channel)s, given.contact_id, crm_now()
    FROM unnest(%(ids)s::uuid[], %(contacts)s::uuid[]) AS given(id, contact_id) ORDER BY given.contact_id
    ON CONFLICT (channel_id, contact_id) DO UPDATE SET last_message_at = excluded.last_message_at
    RETURNING contact_id, id
"""
_WRITE = """
    INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, type, content,
        text, author, occurred_at, media_id, trace_id, category, parts, cost, gates, job_id, claim_no)
    SELECT given.id, %(workspace)s, %(channel)s, given.conversation_id, given.contact_id, 'out', given.state, %(type)s,
        given.content, given.text, 'campaign', crm_now(), %(media)s, %(trace)s, %(category)s, given.parts, given.cost,
        given.gates, given.job_id, %(claim)s
    FROM unnest(%(ids)s::uuid[], %(talks)s::uuid[], %(contacts)s::uuid[], %(states)s::text[], %(contents)s::jsonb[],
                %(texts)s::text[], %(parts)s::int[], %(costs)s::bigint[], %(gates)s::jsonb[], %(jobs)s::uuid[])
        AS given(id, conversation_id, contact_id, state, content, text, parts, cost, gates, job_id)
"""
_TAKE = """
    UPDATE recipients r SET message_id = given.id
    FROM unnest(%(ids)s::uuid[], %(contacts)s::uuid[]) AS given(id, contact_id)
    WHERE r.campaign_id = %(campaign)s AND r.contact_id = given.contact_id
"""
_REFUSE = """
    UPDATE recipients r SET state = 'suppressed', reason = given.reason
    FROM unnest(%(contacts)s::uuid[], %(reasons)s::jsonb[]) AS given(contact_id, reason)
    WHERE r.campaign_id = %(campaign)s AND r.contact_id = given.contact_id
"""


@dataclass(slots=True)
class Person:
    """One recipient against whom nothing final speaks."""

    seen: Look
    position: int
    verdict: Verdict
    cost: int | None
    parts: int | None
    start: Start | None = None

    @property
    def contact_id(self) -> uuid.UUID:
        """Who it is."""
        return self.seen.row.contact_id


def write(
    session: Session, campaign: Campaign, claim: Claim, going: Sequence[Person], put_off: Sequence[Person]
) -> list[uuid.UUID]:
    """Write the messages of those who go, as being sent by this claim, and of those who are put off, with a job each.

    Returns the ids of those that go.
    """
    people = [*going, *put_off]
    if not people:
        return []
    talks = _talks(session, campaign, people)
    ids = [new_id() for _ in people]
    jobs = [claim.id] * len(going) + _jobs(session, campaign, put_off, ids[len(going) :], talks)
    first = people[0].seen
    findings = [each.verdict.finding for each in people]
    values: dict[str, Any] = {
        "campaign": campaign.id,
        "workspace": campaign.workspace_id,
        "channel": campaign.channel_id,
        "type": campaign.type,
        "media": composing.file_of(campaign),
        "trace": campaign.trace_id,
        "category": str(first.category),
        "claim": claim.claim_no,
        "ids": ids,
        "talks": [talks[each.contact_id] for each in people],
        "contacts": [each.contact_id for each in people],
        "states": [str(MessageState.SENDING)] * len(going) + [str(MessageState.QUEUED)] * len(put_off),
        "contents": [dumps(each.verdict.content) for each in people],
        "texts": [composing.worded(each.seen, each.verdict.content or {}) for each in people],
        "parts": [each.parts for each in people],
        "costs": [each.cost for each in going] + [None] * len(put_off),
        "gates": [dumps([finding.as_json()]) if finding else None for finding in findings],
        "jobs": jobs,
    }
    connection = driver(session)
    connection.execute(_WRITE, values)
    connection.execute(_TAKE, values)
    return ids[: len(going)]


def refuse(session: Session, campaign: Campaign, refused: Sequence[tuple[uuid.UUID, gates.Finding]]) -> None:
    """Write down who gets nothing, and why."""
    if refused:
        values = {
            "campaign": campaign.id,
            "contacts": [contact_id for contact_id, _ in refused],
            "reasons": [dumps(finding.as_json()) for _, finding in refused],
        }
        driver(session).execute(_REFUSE, values)


def _talks(session: Session, campaign: Campaign, people: Sequence[Person]) -> dict[uuid.UUID, uuid.UUID]:
    """Return the conversation with each, made where there is none."""
    values = {
        "workspace": campaign.workspace_id,
        "channel": campaign.channel_id,
        "ids": [new_id() for _ in people],
        "contacts": [each.contact_id for each in people],
    }
    return dict(driver(session).execute(_TALK, values).fetchall())


def _jobs(
    session: Session,
    campaign: Campaign,
    put_off: Sequence[Person],
    ids: Sequence[uuid.UUID],
    talks: Mapping[uuid.UUID, uuid.UUID],
) -> list[uuid.UUID]:
    """Enqueue an ordinary job for each that is put off, to the moment from which on nothing speaks against it."""
    jobs = []
    for each, message_id in zip(put_off, ids, strict=True):
        until = each.verdict.finding.until if each.verdict.finding else None
        jobs.append(
            send_job(campaign, each.seen.provider.task, message_id, talks[each.contact_id], each.contact_id, until)
        )
    return enqueue_many(session, jobs) if jobs else []


def send_job(
    campaign: Campaign,
    task: str,
    message_id: uuid.UUID,
    conversation_id: uuid.UUID,
    contact_id: uuid.UUID,
    until: datetime | None,
) -> NewJob:
    """Return the ordinary job that sends a message which the pump does not."""
    return NewJob(
        task=task,
        args={"message_id": message_id},
        workspace_id=campaign.workspace_id,
        scopes=[campaign.scope, *outbox.scopes(campaign.channel_id, conversation_id, contact_id)],
        run_at=until,
        serial_key=f"send:{conversation_id}",
        trace=campaign.trace_id or message_id,
    )
