"""One message on its way out. A request leaves only from a `sending` that this very claim has committed.

Found `sending` under an earlier claim, a message may have been sent: it becomes `unknown` and is never sent blindly.
What the provider answered is a fact and is kept whether or not the claim still holds.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.contacts import service as contacts
from crm_tasks.core import breaker, holds, metrics, pace
from crm_tasks.core.db import now
from crm_tasks.core.errors import Outcome, Permanent, Snooze, Transient
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState, StatusEvent
from crm_tasks.messages.service import admission, attachments, failures, gates, news, outbox, pacing, statuses
from crm_tasks.messages.service.look import Look, look
from crm_tasks.messages.service.pacing import Start
from crm_tasks.notifications import service as notifications
from crm_tasks.notifications.models import Severity
from crm_tasks.providers.provider import Accepted, Action, Address, Outgoing, Provider, Refusal, Result, Sender, Unknown
from crm_tasks.providers.whatsapp.errors import WINDOW_CLOSED, pair_wait, remedy
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish
from crm_tasks.workspaces import credentials
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

# The code of a refusal that comes from us: there was no connection.
NO_CONNECTION = -1
NEXT_DAY = timedelta(hours=24)
STOPPED = timedelta(seconds=30)
SOON = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Order:
    """Everything needed to send one message, without a transaction open."""

    provider: Provider
    sender: Sender
    message: Outgoing
    start: Start


def begin(
    session: Session, message_id: uuid.UUID, claim: Claim, start: Start | None = None
) -> Order | Start | Snooze | attachments.Uploads | None:
    """Take the last look, and mark a message as `sending` by this claim.

    Returns what to send; or until when to put it off; or None if there is nothing to send (any more). Files that the
    provider does not know yet come instead: they are brought first, and then this is asked again. So does a slot that
    is still far off: it is waited for with no transaction open, and brought along.
    """
    seen = look(session, message_id, lock=True)
    if seen is None:
        raise Permanent(f"There is no message {message_id}.", code="no_message")
    if not _may_be_sent(session, seen, claim):
        return None
    seen, found = _against(session, seen)
    if found:
        return _put_off(session, seen, found)
    to = seen.address()
    if to is None:
        raise Permanent("This contact has no identity that the channel can reach.", code="no_identity")
    channel = seen.channel
    content = attachments.resolved(session, channel, message_id, seen.row.type, seen.row.content)
    if isinstance(content, attachments.Uploads):
        return content
    start = start or pacing.reserve(seen, priority=claim.priority)
    if not start.slot.reserved:
        return pacing.waiting(seen, start.slot)
    if start.left > pacing.MARK_AHEAD:
        return start
    # Last of all: who may go while a provider is being tried again is the one that tries.
    if broken := pacing.wait_for_breaker(seen):
        pace.give_back(start.slot)
        return _put_off(session, seen, [broken])
    session.execute(
        sa.text("UPDATE messages SET state = 'sending', claim_no = :claim, gates = NULL, cost = :cost WHERE id = :id"),
        {"id": message_id, "claim": claim.claim_no, "cost": gates.cost_of(seen)},
    )
    return Order(seen.provider, workspaces.sender(channel), _outgoing(seen, to, content), start)


def _may_be_sent(session: Session, seen: Look, claim: Claim) -> bool:
    """Say whether a message still waits; one that an earlier claim was sending may have left."""
    if seen.state is MessageState.SENDING and seen.row.claim_no != claim.claim_no:
        _unknown(session, session.get_one(Message, seen.row.id), "its worker went away while it was being sent")
    return seen.state is MessageState.QUEUED


def _against(session: Session, seen: Look) -> tuple[Look, list[gates.Finding]]:
    """Return what speaks against sending; where the window is closed, the template that was named takes its turn."""
    found = gates.findings(session, seen)
    if any(finding.rule == "window_closed" for finding in found) and _take_template(
        session, session.get_one(Message, seen.row.id)
    ):
        seen = look(session, seen.row.id) or seen
        found = gates.findings(session, seen)
    return seen, found


def _take_template(session: Session, message: Message) -> bool:
    """Let the template that was named for a closed window take the place of free text."""
    template = (message.fallback or {}).get("template")
    if template is None:
        return False
    rest = {name: value for name, value in (message.fallback or {}).items() if name != "template"}
    channel = session.get_one(Channel, message.channel_id)
    text, category = admission.described(session, channel, "template", template)
    message.type, message.content, message.text, message.fallback = "template", template, text, rest or None
    message.category = category or message.category
    session.flush()
    log.info("send.template_instead", message_id=str(message.id))
    return True


def _put_off(session: Session, seen: Look, found: list[gates.Finding]) -> Snooze | None:
    """Keep why a message is not sent: for good, or until the last of the reasons is over."""
    gates.keep(session, seen, found)
    final = [finding for finding in found if finding.until is None]
    if final:
        message = session.get_one(Message, seen.row.id)
        message.state = MessageState.SUPPRESSED
        message.error = {"code": final[0].rule, "title": final[0].text(), "remedy": final[0].remedy}
        metrics.count("sends_suppressed")
        news.tell_status(session, message)
        log.info("send.suppressed", message_id=str(message.id), rules=[finding.rule for finding in final])
        return None
    until = max(finding.until for finding in found if finding.until)
    return Snooze(until, "; ".join(finding.text() for finding in found), code=found[0].rule)


def _outgoing(seen: Look, to: Address, content: dict[str, Any]) -> Outgoing:
    row = seen.row
    return Outgoing(
        id=str(row.id),
        to=to,
        type=row.type,
        content=content,
        context_id=row.context_provider_id,
        workspace_id=str(row.workspace_id),
        contact_id=str(row.contact_id or ""),
        category=row.category,
    )


def heard(order: Order, result: Result) -> None:
    """Tell pace and breaker how the provider fared; of a message's own faults they learn nothing."""
    channel_id = order.sender.channel_id
    refusal = result if isinstance(result, Refusal) else None
    if refusal is not None and refusal.code in order.provider.too_fast:
        pace.slow_down(pacing.channel_bucket(uuid.UUID(channel_id)))
    silent = isinstance(result, Unknown) or (refusal is not None and _is_down(order.provider, refusal))
    breaker.report(pacing.breaker_key(uuid.UUID(channel_id)), not silent)


def _is_down(provider: Provider, no: Refusal) -> bool:
    """Say whether a refusal is of the whole provider: a mail server's 4xx is of one mailbox, a 429 of our speed."""
    if no.action is not Action.RETRY or no.code in provider.too_fast:
        return False
    return no.code == NO_CONNECTION or provider.medium == "whatsapp"


def record(session: Session, message_id: uuid.UUID, result: Accepted | Unknown) -> None:
    """Keep what the provider answered."""
    message = session.get_one(Message, message_id, with_for_update=True)
    if isinstance(result, Accepted):
        _accepted(session, message, result)
    else:
        metrics.count("sends_unknown")
        if message.state is MessageState.SENDING:
            _unknown(session, message, result.reason)


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
    if no.action is Action.STOP and sender is not None and _renewed(session, message, sender):
        return Snooze(SOON, "the channel has new credentials by now", code="new_credentials", detail=no.as_error())
    if no.action is Action.STOP:
        _stop_channel(session, message, no, medium)
    if message.state is MessageState.UNKNOWN and message.claim_no == claim.claim_no:
        # The claim was lost meanwhile and nobody knew; but it was not sent, and this is how we know.
        message.state, message.error = MessageState.QUEUED, no.as_error(times=times)
        message.job_id = outbox.enqueue_send(session, message, outbox.provider_of(session, message))
        return _outcome(no, times, medium)
    if medium == "whatsapp" and no.code == WINDOW_CLOSED and _take_template(session, message):
        return Snooze(timedelta(0), f"{no.code}: {no.message}", code="window_closed", detail=no.as_error(times=times))
    failures.follow(session, message, no, at=session.scalar(sa.select(now())))  # type: ignore[arg-type]
    return _outcome(no, times, medium)


def _renewed(session: Session, message: Message, sender: Sender) -> bool:
    """Read the channel from Postgres once more, and say whether it is another than the one that was refused."""
    credentials.forget(message.channel_id)
    return workspaces.sender(credentials.channel(session, message.channel_id)) != sender


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
            _unknown(session, message, "its task failed while it was being sent")
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
    before, message.state = message.state, statuses.furthest(message.state, MessageState.ACCEPTED)
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


def _unknown(session: Session, message: Message, reason: str) -> None:
    """The message may have been sent. A status webhook settles it; if none comes, `messages.settle` looks after it."""
    message.state = MessageState.UNKNOWN
    message.error = {"code": "unknown", "title": reason, "times": (message.error or {}).get("times", 0) + 1}
    log.warning("send.unknown", message_id=str(message.id), reason=reason)
    news.tell_status(session, message)
    enqueue(
        session,
        "messages.settle",
        args={"message_id": message.id},
        workspace_id=message.workspace_id,
        scopes=[f"channel:{message.channel_id}"],
        run_at=session.scalar(sa.select(now() + settings().unknown_wait)),
        unique_key=f"settle:{message.id}",
    )


def _stop_channel(session: Session, message: Message, no: Refusal, medium: str) -> None:
    scope, reason = f"channel:{message.channel_id}", f"{medium} {no.code}: {no.message}"
    # Many meet the same no at once; a hold that another transaction is about to commit would not be seen.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"stop:{scope}"))))
    if not any(hold.scope == scope for hold in holds.listed(session)):
        until = session.scalar(sa.select(now() + no.passes_after)) if no.passes_after else None
        holds.place(session, scope, reason=reason, actor="system", workspace_id=message.workspace_id, expires_at=until)
        log.error("channel.stopped", channel_id=str(message.channel_id), reason=reason)
        data = {"channel_id": message.channel_id, "reason": reason, "until": until}
        publish(session, message.workspace_id, EventType.CHANNEL_STOPPED, data)
        _tell_of_stop(session, message, no, medium, until)


# Of providers whose errors have no table of remedies.
_REMEDY = "See at the provider what is wrong with the account; new secrets go to `crm channel rotate-credentials`."


def _tell_of_stop(session: Session, message: Message, no: Refusal, medium: str, until: datetime | None) -> None:
    channel = session.get_one(Channel, message.channel_id)
    what_to_do = remedy(no.code) if medium == "whatsapp" else _REMEDY
    release = f"the hold: `crm hold release channel:{channel.id}`"
    end = (
        f"It ends by itself at {until:%Y-%m-%d %H:%M} UTC, or release {release}."
        if until
        else f"Then release {release}."
    )
    notifications.notify(
        session,
        message.workspace_id,
        "channel.stopped",
        title=f"{channel.name} sends no more",
        text=f"{medium} {no.code}: {no.message}. {what_to_do} {end} Until then its messages wait; none is lost.",
        severity=Severity.ERROR,
        subject=f"channel:{channel.id}",
        link="/admin/",
    )
