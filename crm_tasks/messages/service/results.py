"""What a provider answered is a fact, and is kept whether or not the claim still holds.

However many answers come at once, those that say the usual cost a few statements: see `record_many`.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import service as contacts
from crm_tasks.contacts.learning import Told, learn_many
from crm_tasks.core import breaker, metrics, pace
from crm_tasks.core.db import driver, now
from crm_tasks.core.errors import Outcome, Permanent, Snooze, Transient
from crm_tasks.core.jobs.claim import Claim, acting_for
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import Message, MessageState, StatusEvent
from crm_tasks.messages.service import failures, news, outbox, pacing, reports, statuses, unknown
from crm_tasks.messages.service.sending import SOON, Order, take_template
from crm_tasks.messages.service.stopping import STOPPED, stop_channel
from crm_tasks.providers.provider import Accepted, Action, Provider, Refusal, Result, Sender, Unknown
from crm_tasks.providers.whatsapp.errors import WINDOW_CLOSED, pair_wait
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import anyone_wants

log = get_logger(__name__)

# The code of a refusal that comes from us: there was no connection.
NO_CONNECTION = -1
NEXT_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a provider answered to an order."""

    order: Order
    claim: Claim
    result: Result

    @property
    def message_id(self) -> uuid.UUID:
        """Which message it is about."""
        return uuid.UUID(self.order.message.id)


def heard(answers: Sequence[Answered]) -> None:
    """Tell pace and breakers how providers fared; of a message's own faults they learn nothing."""
    ends: dict[uuid.UUID, list[bool]] = {}
    for each in answers:
        channel_id = uuid.UUID(each.order.sender.channel_id)
        refusal = each.result if isinstance(each.result, Refusal) else None
        if refusal is not None and refusal.code in each.order.provider.too_fast:
            pace.slow_down(pacing.channel_bucket(channel_id))
        silent = isinstance(each.result, Unknown) or (refusal is not None and _is_down(each.order.provider, refusal))
        ends.setdefault(channel_id, []).append(not silent)
    for channel_id, all_of_it in ends.items():
        breaker.report(pacing.breaker_key(channel_id), *all_of_it)


def _is_down(provider: Provider, no: Refusal) -> bool:
    """Say whether a refusal is of the whole provider: a mail server's 4xx is of one mailbox, a 429 of our speed."""
    if no.action is not Action.RETRY or no.code in provider.too_fast:
        return False
    return no.code == NO_CONNECTION or provider.medium == "whatsapp"


# Of one whose statuses were faster than this answer, they have told the name and the state; only when is new.
_ACCEPT = """
    UPDATE messages SET provider_id = told.provider_id, error = NULL,
        state = CASE WHEN told.is_news THEN 'accepted' ELSE messages.state END,
        accepted_at = coalesce(messages.accepted_at, crm_now())
    FROM (SELECT m.id, t.provider_id, m.state = 'sending' AS is_news
          FROM messages m JOIN unnest(%(ids)s::uuid[], %(names)s::text[]) AS t(id, provider_id) USING (id)
          WHERE (m.state = 'sending' AND m.provider_id IS NULL)
             OR (m.state IN ('sent', 'delivered', 'read', 'played') AND m.provider_id = t.provider_id)
          ORDER BY m.id FOR UPDATE OF m) AS told
    WHERE messages.id = told.id
    RETURNING messages.id, messages.workspace_id, messages.channel_id, messages.contact_id, crm_now(), told.is_news
"""
_TELL = """
    INSERT INTO status_events
        (id, workspace_id, channel_id, message_id, provider_id, status, recipient, occurred_at, detail)
    SELECT given.id, workspace_id, channel_id, message_id, provider_id, 'accepted', recipient, crm_now(), '{}'
    FROM unnest(%(ids)s::uuid[], %(workspaces)s::uuid[], %(channels)s::uuid[], %(messages)s::uuid[],
                %(names)s::text[], %(recipients)s::text[])
        AS given(id, workspace_id, channel_id, message_id, provider_id, recipient)
"""
# The record of a sending and the report of its message take turns, as in `statuses`: one of them sees the other.
_TURNS = """
    SELECT pg_advisory_xact_lock(hashtext('status:' || name)) FROM unnest(%(names)s::text[]) AS name
"""
_PARKED = """
    SELECT DISTINCT channel_id, provider_id FROM status_events
    WHERE channel_id = ANY(%(channels)s) AND provider_id = ANY(%(names)s) AND message_id IS NULL
    ORDER BY provider_id
"""


def record_many(session: Session, answers: Sequence[Answered]) -> None:
    """Keep what providers answered to these; a refusal is not among them, as it says how a job ends."""
    named = [(each.message_id, each) for each in answers]
    plain = {message_id: each.result for message_id, each in named if isinstance(each.result, Accepted)}
    kept = _accept_together(session, plain) if plain else set()
    rest = [(message_id, each) for message_id, each in named if message_id not in kept]
    for message_id, each in sorted(rest, key=lambda entry: entry[0]):
        if not isinstance(each.result, Refusal):
            with acting_for(each.claim):
                record(session, message_id, each.result)


def _accept_together(session: Session, accepted: Mapping[uuid.UUID, Accepted]) -> set[uuid.UUID]:
    """Keep the usual: of a message that was being sent, its provider has it. Return for which that was so."""
    connection = driver(session)
    names = [each.provider_id for each in accepted.values()]
    rows = connection.execute(_ACCEPT, {"ids": list(accepted), "names": names}).fetchall()
    if not rows:
        return set()
    metrics.count("sends_accepted", len(rows))
    told = [(row, accepted[row[0]]) for row in rows]
    values: dict[str, Any] = {
        "ids": [new_id() for _ in told],
        "messages": [row[0] for row, _ in told],
        "workspaces": [row[1] for row, _ in told],
        "channels": [row[2] for row, _ in told],
        "names": sorted(said.provider_id for _, said in told),
    }
    connection.execute(_TURNS, values)
    parked = connection.execute(_PARKED, values).fetchall()
    values["names"] = [said.provider_id for _, said in told]
    values["recipients"] = [said.bsuid or said.wa_id or "" for _, said in told]
    connection.execute(_TELL, values)
    _tell(session, [row[:2] for row in rows if row[5]])
    for channel_id, provider_id in parked:
        statuses.apply_parked(session, channel_id, provider_id)
    learned = [Told(row[1], row[3], said.wa_id, said.bsuid) for row, said in told if row[3] is not None]
    learn_many(session, learned, at=told[0][0][4])
    return {row[0] for row, _ in told}


def _tell(session: Session, accepted: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Tell who wants to know that messages, given with their workspaces, were accepted."""
    for workspace_id in sorted({workspace_id for _, workspace_id in accepted}):
        if anyone_wants(session, workspace_id, EventType.MESSAGE_STATUS):
            ids = [message_id for message_id, owner in accepted if owner == workspace_id]
            query = sa.select(Message).where(Message.id.in_(ids))
            news.tell(session, [(workspace_id, news.status(each)) for each in session.scalars(query)])


def record(session: Session, message_id: uuid.UUID, result: Accepted | Unknown) -> None:
    """Keep what the provider answered to one."""
    message = session.get_one(Message, message_id, with_for_update=True)
    if isinstance(result, Accepted):
        _accepted(session, message, result)
    else:
        metrics.count("sends_unknown")
        if message.state is MessageState.SENDING:
            unknown.begin(session, message, result.reason)


def refused(
    session: Session, message_id: uuid.UUID, claim: Claim, no: Refusal, *, sender: Sender | None = None
) -> Outcome:
    """Return how the job ends after a clear no; a no to the whole channel holds the channel.

    Unless that channel (`sender`, as it was asked) has been given new credentials meanwhile: then these are tried.
    """
    metrics.count("sends_refused")
    message = session.get_one(Message, message_id, with_for_update=True)
    before = message.error or {}
    times = before.get("times", 0) + 1 if before.get("code") == no.code else 1
    medium = outbox.provider_of(session, message).medium
    if no.action is Action.STOP and not stop_channel(session, message.channel_id, no, medium, sender=sender):
        return Snooze(SOON, "the channel has new credentials by now", code="new_credentials", detail=no.as_error())
    if message.state is MessageState.UNKNOWN and message.claim_no == claim.claim_no:
        # The claim was lost meanwhile and nobody knew; but it was not sent, and this is how we know.
        message.state, message.error = MessageState.QUEUED, no.as_error(times=times)
        message.job_id = outbox.enqueue_send(session, message, outbox.provider_of(session, message))
        return _outcome(no, times, medium)
    if medium == "whatsapp" and no.code == WINDOW_CLOSED and take_template(session, message):
        return Snooze(timedelta(0), f"{no.code}: {no.message}", code="window_closed", detail=no.as_error(times=times))
    failures.follow(session, message, no, at=session.scalar(sa.select(now())))  # type: ignore[arg-type]
    return _outcome(no, times, medium)


def _outcome(no: Refusal, times: int, medium: str) -> Outcome:
    text, code, detail = f"{no.code}: {no.message}", f"{medium}:{no.code}", no.as_error(times=times)
    match no.action:
        case Action.RETRY:
            return Transient(text, code=code, detail=detail, retry_after=no.retry_after)
        case Action.PAIR:
            return Snooze(pair_wait(times), text, code=code, detail=detail)
        case Action.LATER if times == 1:
            return Snooze(NEXT_DAY, text, code=code, detail=detail)
        case Action.STOP:
            return Snooze(STOPPED, text, code=code, detail=detail)
        case _:
            return Permanent(text, code=code, detail=detail)


def follow(session: Session, state: JobState, error: BaseException | None, message_id: str) -> None:
    """Keep a message in step with its job when that leaves without success."""
    if isinstance(error, Snooze) and error.code == pacing.PACE:
        return  # it has not been touched
    message = session.get(Message, uuid.UUID(message_id), with_for_update=True)
    if message is None:
        return
    known = isinstance(error, Outcome) and error.detail is not None
    if message.state is MessageState.SENDING and not known and not isinstance(error, Snooze):
        if state is not JobState.CANCELLED:  # what is under way cannot be called back; its answer will be recorded
            unknown.begin(session, message, "its task failed while it was being sent")
        return
    if known:
        message.error = error.detail  # type: ignore[union-attr]
    if state is JobState.QUEUED and message.state is MessageState.FAILED and _said_elsewhere(session, message):
        return
    if state is JobState.QUEUED and message.state in (MessageState.SENDING, MessageState.FAILED):
        message.state, message.failed_at = MessageState.QUEUED, None
    elif state is JobState.DEAD and message.state in (MessageState.SENDING, MessageState.QUEUED):
        message.state, message.failed_at = MessageState.FAILED, session.scalar(sa.select(now()))
        message.error = message.error or {"code": getattr(error, "code", ""), "title": type(error).__name__}
        news.tell_status(session, message)
    elif state is JobState.CANCELLED and message.state in (MessageState.QUEUED, MessageState.FAILED):
        message.state = MessageState.CANCELLED


def _said_elsewhere(session: Session, message: Message) -> bool:
    """Say whether another channel has taken a failed message's place: sent again, the person would have it twice."""
    query = sa.select(Message.id).where(Message.trace_id == (message.trace_id or message.id))
    return session.scalar(query.where(Message.fallback_of == message.id).limit(1)) is not None


def _accepted(session: Session, message: Message, result: Accepted) -> None:
    metrics.count("sends_accepted")
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    session.add(
        StatusEvent(
            workspace_id=message.workspace_id,
            channel_id=message.channel_id,
            message_id=message.id,
            provider_id=result.provider_id,
            status=MessageState.ACCEPTED,
            recipient=result.bsuid or result.wa_id or "",
            occurred_at=moment,
            detail={},
        )
    )
    if message.provider_id is not None and message.provider_id != result.provider_id:
        # Sent twice: the second id is kept as an event, and `crm prove` reports it.
        log.error("send.doubled", message_id=str(message.id))
        return
    message.provider_id = result.provider_id
    message.accepted_at = message.accepted_at or moment
    before, message.state = message.state, reports.furthest(message.state, MessageState.ACCEPTED)
    if message.state is not MessageState.FAILED:
        message.error = None
    session.flush()
    if message.state is not before:
        news.tell_status(session, message)
    statuses.apply_parked(session, message.channel_id, result.provider_id)
    if result.wa_id or result.bsuid:
        _learn(session, message, result, moment)


def _learn(session: Session, message: Message, result: Accepted, at: datetime) -> None:
    """The provider may route by another id than the one we used: keep it with the contact."""
    if message.contact_id is not None:
        contacts.learn(session, message.workspace_id, message.contact_id, wa_id=result.wa_id, bsuid=result.bsuid, at=at)
