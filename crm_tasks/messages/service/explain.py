"""Why a message waits, or the whole story of it: from the webhook or request to the last status, step by step."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import NotFound
from crm_tasks.core.jobs import explain
from crm_tasks.core.jobs.explain import Place, Reason
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.models import RANK, Direction, InboundEvent, Message, MessageState, StatusEvent
from crm_tasks.messages.service import gates
from crm_tasks.messages.service.look import look

_MOST = 500
# In which order reasons are told: what a person has stopped, what was asked for, what rules say, what the machine does.
_ORDER = ("hold", "unknown_task", "scheduled")
_RANK = {str(state): rank for state, rank in RANK.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened."""

    at: datetime
    what: str
    detail: str = ""
    job_id: uuid.UUID | None = None
    message_id: uuid.UUID | None = None


@dataclass(slots=True)
class Explanation:
    """What is to be said of a message or job."""

    state: str
    summary: str
    reasons: list[Reason] = field(default_factory=list)
    place: Place | None = None
    story: list[Step] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it for an answer."""
        return asdict(self)


def message(session: Session, message_id: uuid.UUID, *, workspace_id: uuid.UUID | None = None) -> Explanation:
    """Explain a message.

    Raises:
        NotFound: no such message here.
    """
    found = session.get(Message, message_id)
    if found is None or workspace_id not in (None, found.workspace_id):
        raise NotFound(f"There is no message {message_id}.", code="message_not_found")
    job = session.get(Job, found.job_id) if found.job_id else None
    told = Explanation(found.state, "", story=_story(session, found.trace_id or found.id, found.workspace_id, found))
    if found.state is MessageState.QUEUED and job is not None:
        told.reasons, told.place = _why(session, found, job), explain.place(session, job)
    elif found.gates and found.state is MessageState.SUPPRESSED:
        told.reasons = [_kept(gate) for gate in found.gates]
    told.summary = _summary(found, told)
    return told


def job(session: Session, job_id: uuid.UUID, *, workspace_id: uuid.UUID | None = None) -> Explanation:
    """Explain a job; one that sends a message by all that speaks against sending it.

    Raises:
        NotFound: no such job here.
    """
    found = session.get(Job, job_id)
    if found is None or workspace_id not in (None, found.workspace_id):
        raise NotFound(f"There is no job {job_id}.")
    told = Explanation(found.state, "", story=_story(session, found.trace_id or found.id, found.workspace_id))
    sends = _sent_by(session, found)
    told.reasons = _why(session, sends, found) if sends is not None else explain.reasons(session, found)
    told.place = explain.place(session, found)
    first = told.reasons[0].text if told.reasons else ""
    told.summary = f"It waits: {first}." if first else f"It is {found.state}."
    return told


def retried(session: Session, dead: Job) -> list[Reason]:
    """Return what would become of a dead job if it were retried now: all that would put it off or refuse it."""
    sends = _sent_by(session, dead)
    seen = look(session, sends.id) if sends is not None else None
    rules = [_found(finding) for finding in gates.findings(session, seen)] if seen else []
    return [*explain.obstacles(session, dead), *(reason for reason in rules if reason.gate != "hold")]


# --- why it waits ------------------------------------------------------------------------------------------------


def _why(session: Session, found: Message, waiting: Job) -> list[Reason]:
    if waiting.state is not JobState.QUEUED:
        return []
    of_job = explain.reasons(session, waiting)
    if found.scheduled_for is not None and waiting.run_at == found.scheduled_for:
        of_job = [_as_scheduled(reason) if reason.until == waiting.run_at else reason for reason in of_job]
    seen = look(session, found.id)
    now = [_found(finding) for finding in gates.findings(session, seen)] if seen else []
    rules = {reason.gate for reason in now}
    first = [reason for reason in of_job if reason.gate in _ORDER]
    rest = [reason for reason in of_job if reason.gate not in _ORDER and reason.gate not in rules]
    return [*first, *(reason for reason in now if reason.gate != "hold"), *rest]


def _as_scheduled(reason: Reason) -> Reason:
    return Reason("scheduled", "it was asked for at this time", "the request", reason.until, reason.remedy)


def _found(finding: gates.Finding) -> Reason:
    text = f"{finding.value}; {finding.limit}"
    return Reason(finding.rule, text, finding.set_by, finding.until, finding.remedy)


def _kept(gate: dict[str, Any]) -> Reason:
    until = datetime.fromisoformat(gate["until"]) if gate.get("until") else None
    return Reason(gate["rule"], f"{gate['value']}; {gate['limit']}", gate["set_by"], until, gate.get("remedy", ""))


def _sent_by(session: Session, found: Job) -> Message | None:
    if not found.task.endswith(".send"):
        return None
    try:
        message = session.get(Message, uuid.UUID(str(found.args.get("message_id"))))
    except ValueError:  # a person may have changed the arguments
        return None
    return message if message and message.workspace_id == found.workspace_id else None


def _summary(found: Message, told: Explanation) -> str:
    if found.direction is Direction.IN:
        return "A customer's message: received."
    if found.state is MessageState.QUEUED:
        if not told.reasons:
            return "It waits for a worker."
        until = told.reasons[0].until
        when = f" until {until.isoformat(timespec='seconds')}" if until else ""
        return f"It waits{when}: {told.reasons[0].gate}, {told.reasons[0].text}."
    if found.error and found.state in (MessageState.FAILED, MessageState.SUPPRESSED, MessageState.UNKNOWN):
        return f"It is {found.state}: {found.error.get('code')}, {found.error.get('title')}."
    return f"It is {found.state}."


# --- the story ---------------------------------------------------------------------------------------------------


def _story(
    session: Session, trace: uuid.UUID, workspace_id: uuid.UUID | None, found: Message | None = None
) -> list[Step]:
    """Return what happened by this trace in a workspace, whatever jobs and channels it went through.

    One webhook request may be about several workspaces.
    """
    own = sa.select(Message).where(Message.trace_id == trace, Message.workspace_id == workspace_id)
    messages = set(session.scalars(own.limit(_MOST)))
    if found is not None:
        messages.add(found)
    # The job that applies a webhook request belongs to no workspace.
    mine = sa.or_(Job.workspace_id == workspace_id, Job.workspace_id.is_(None))
    jobs = session.scalars(sa.select(Job).where(Job.trace_id == trace, mine).order_by(Job.id).limit(_MOST)).all()
    steps = [*_event(session, trace)]
    for each in messages:
        steps += _of_message(each)
    for each_job in jobs:
        steps += _of_job(each_job)
    steps += _reported(session, messages)
    return sorted(steps, key=lambda step: step.at)


def _reported(session: Session, messages: Iterable[Message]) -> Iterator[Step]:
    """Yield what the provider reported. Its times are whole seconds: none is before the message was accepted."""
    begun = {each.id: each.accepted_at or each.created_at for each in messages}
    query = sa.select(StatusEvent).where(StatusEvent.message_id.in_(begun)).limit(_MOST)
    for status in sorted(session.scalars(query), key=lambda each: _RANK.get(each.status, 0)):
        assert status.message_id is not None
        at = max(status.occurred_at, begun[status.message_id])
        yield Step(at, f"the provider reports {status.status}", message_id=status.message_id)


def _event(session: Session, trace: uuid.UUID) -> Iterator[Step]:
    event = session.get(InboundEvent, trace)
    if event is not None:
        yield Step(event.received_at, "webhook received", f"{event.provider}, {len(event.body)} bytes")


def _of_message(found: Message) -> Iterator[Step]:
    kind = f"{found.type} by {found.author}"
    if found.direction is Direction.IN:
        yield Step(found.created_at, "message received", kind, message_id=found.id)
        return
    instead = f", instead of {found.fallback_of}" if found.fallback_of else ""
    yield Step(found.created_at, "message accepted from the caller", kind + instead, found.job_id, found.id)
    if found.failed_at and found.error:
        detail = f"{found.error.get('code')}: {found.error.get('title')}"
        yield Step(found.failed_at, "message failed", detail, message_id=found.id)


def _of_job(found: Job) -> Iterator[Step]:
    yield Step(found.created_at, f"{found.task} enqueued", f"for {found.queue}, priority {found.priority}", found.id)
    for error in found.errors:
        if at := error.get("at"):
            text = f"{error.get('code') or error.get('class')}: {error.get('message', '')}"
            yield Step(
                datetime.fromisoformat(at), f"{found.task}: attempt {error.get('attempt')} failed", text, found.id
            )
    if found.started_at:
        yield Step(found.started_at, f"{found.task} started", f"claim {found.claim_no}", found.id)
    if found.finished_at:
        yield Step(found.finished_at, f"{found.task} {found.state}", found.reason or "", found.id)
