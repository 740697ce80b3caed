"""What providers answered to a pump: usual answers set by set; who has to be tried again gets an ordinary job."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.service.writing import send_job
from crm_tasks.config import settings
from crm_tasks.core.db import now
from crm_tasks.core.errors import Outcome, Permanent, Snooze, Transient
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.jobs.enqueue import enqueue_many
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.queues import queue_of
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import outbox, results, unknown
from crm_tasks.messages.service.results import Answered
from crm_tasks.providers.provider import Refusal

log = get_logger(__name__)

_LEFT_BEHIND = sa.text("""
    SELECT id FROM messages
    WHERE state IN ('planned', 'queued', 'sending', 'unknown') AND state = 'sending' AND (
        job_id = :job AND claim_no < :claim
        OR job_id IN (SELECT id FROM jobs WHERE state = 'queued' AND serial_key = :lane AND id <> :job))
    ORDER BY id
""")
_NOT_ORDERED = sa.text("""
    SELECT id FROM messages
    WHERE state IN ('planned', 'queued', 'sending', 'unknown') AND state = 'sending' AND job_id = :job
      AND claim_no = :claim
    ORDER BY id
""")


def keep(session: Session, campaign_id: uuid.UUID, answers: Sequence[Answered]) -> None:
    """Keep what was answered to these, whether or not the claim still holds: it is a fact."""
    results.record_many(session, answers)
    refused = [each for each in answers if isinstance(each.result, Refusal)]
    if refused:
        campaign = session.get_one(Campaign, campaign_id)
        for each in sorted(refused, key=lambda answer: answer.message_id):
            _refused(session, campaign, each)


def again(session: Session, campaign_id: uuid.UUID, claim: Claim, message_ids: Sequence[uuid.UUID]) -> None:
    """Have messages whose request never left sent by ordinary jobs: their slots were lost."""
    campaign = session.get_one(Campaign, campaign_id)
    for message_id in sorted(message_ids):
        message = session.get_one(Message, message_id, with_for_update=True)
        if message.state is MessageState.SENDING and _is_of(message, claim):
            message.state = MessageState.QUEUED
            _by_job(session, campaign, message, None)


def _refused(session: Session, campaign: Campaign, answered: Answered) -> None:
    no = answered.result
    assert isinstance(no, Refusal)
    message = session.get_one(Message, answered.message_id, with_for_update=True)
    if not _is_of(message, answered.claim):
        return  # this was kept before, by a commit of which nobody heard
    sender = answered.order.sender
    outcome = results.refused(session, answered.message_id, answered.claim, no, sender=sender)
    final = isinstance(outcome, Permanent)
    state = JobState.DEAD if final else JobState.QUEUED
    results.follow(session, state, outcome, str(answered.message_id))
    if not final and message.state is MessageState.QUEUED and _is_of(message, answered.claim):
        _by_job(session, campaign, message, _until(session, outcome, answered))


def _is_of(message: Message, claim: Claim) -> bool:
    """Say whether a message is still this claim's, and no ordinary job's: the claims of each are counted from 1."""
    return message.job_id == claim.id and message.claim_no == claim.claim_no


def _until(session: Session, outcome: Outcome, answered: Answered) -> datetime:
    """Return when it may be tried again: as the answer says, else after the first pause of its queue."""
    wait = settings().queues[queue_of(answered.order.provider.task)].delay(1)
    until: datetime | timedelta = timedelta(seconds=wait)
    if isinstance(outcome, Snooze):
        until = outcome.until
    elif isinstance(outcome, Transient) and outcome.retry_after is not None:
        until = outcome.retry_after
    if isinstance(until, datetime):
        return until
    return session.scalars(sa.select(now() + until)).one()


def _by_job(session: Session, campaign: Campaign, message: Message, until: datetime | None) -> None:
    assert message.contact_id is not None
    task = outbox.provider_of(session, message).task
    job = send_job(campaign, task, message.id, message.conversation_id, message.contact_id, until)
    (message.job_id,) = enqueue_many(session, [job])
    session.flush()


def left_behind(session: Session, claim: Claim) -> int:
    """Take what an earlier claim of this pump, or of another of its lane, was sending for unknown: it may have left."""
    values = {"job": claim.id, "claim": claim.claim_no, "lane": claim.serial_key}
    return unknown.begin_all(session, session.scalars(_LEFT_BEHIND, values).all())


def not_ordered(session: Session, campaign_id: uuid.UUID, claim: Claim, ordered: Collection[uuid.UUID]) -> None:
    """Have sent by ordinary jobs what a pump at its end has marked and never sent: it did not hear of the commit."""
    marked = session.scalars(_NOT_ORDERED, {"job": claim.id, "claim": claim.claim_no})
    if ids := [each for each in marked if each not in ordered]:
        log.warning("pump.not_ordered", campaign_id=str(campaign_id), messages=len(ids))
        again(session, campaign_id, claim, ids)
