"""Messages on their way out. A request leaves only from a `sending` that this very claim has committed.

Found `sending` under an earlier claim, a message may have been sent: it becomes `unknown` and is never sent blindly.
However many are sent at once, the last look and the mark cost a few statements: see `begin_many`.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.core import breaker, metrics, pace
from crm_tasks.core.db import driver
from crm_tasks.core.errors import Outcome, Permanent, Snooze
from crm_tasks.core.jobs.claim import Claim, acting_for
from crm_tasks.core.log import get_logger
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import admission, attachments, gates, news, pacing, trying, unknown
from crm_tasks.messages.service.look import Look, looks
from crm_tasks.messages.service.pacing import Start
from crm_tasks.providers.provider import Address, Outgoing, Provider, Sender
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

SOON = timedelta(seconds=1)
_MARK = """
    UPDATE messages SET state = 'sending', claim_no = going.claim_no, gates = NULL, cost = going.cost
    FROM unnest(%(ids)s::uuid[], %(claims)s::int[], %(costs)s::bigint[]) AS going(id, claim_no, cost)
    WHERE messages.id = going.id
"""


@dataclass(frozen=True, slots=True)
class Order:
    """Everything needed to send one message, without a transaction open."""

    provider: Provider
    sender: Sender
    message: Outgoing
    start: Start
    # Whether what is said on the way is kept.
    test: bool = False


# What to send; until when to put it off; a slot that is still far off; files that the provider must have before; or
# nothing (any more).
Begun = Order | Start | Snooze | attachments.Uploads | None


@dataclass(frozen=True, slots=True)
class Wish:
    """One message that a job wants to send, maybe with a slot that was waited for."""

    message_id: uuid.UUID
    claim: Claim
    start: Start | None = None


@dataclass(slots=True)
class _Ready:
    """A message against which nothing speaks."""

    wish: Wish
    seen: Look
    to: Address
    content: dict[str, Any]
    start: Start | None = field(default=None)


def begin(session: Session, message_id: uuid.UUID, claim: Claim, start: Start | None = None) -> Begun:
    """Take the last look, and mark a message as `sending` by this claim.

    Raises:
        Outcome: it cannot be sent.
    """
    (found,) = begin_many(session, [Wish(message_id, claim, start)])
    if isinstance(found, Outcome) and not isinstance(found, Snooze):
        raise found
    return found


def begin_many(session: Session, wishes: Sequence[Wish]) -> list[Begun | Outcome]:
    """Take the last look at messages, and mark those as `sending` that go now; in the order of the wishes.

    Files that a provider does not know yet come instead of an order: they are brought first, and then this is asked
    again. So does a slot that is still far off: it is waited for with no transaction open, and brought along.
    """
    seen = {each.row.id: each for each in looks(session, {wish.message_id for wish in wishes}, lock=True)}
    begun: set[uuid.UUID] = set()
    answers: dict[int, Begun | Outcome] = {}
    ready: dict[int, _Ready] = {}
    for number, wish in enumerate(wishes):
        if wish.message_id in begun:
            answers[number] = Snooze(SOON, "another job sends it at this moment", code="twice")
            continue
        begun.add(wish.message_id)
        with acting_for(wish.claim):
            found = _judged(session, wish, seen.get(wish.message_id))
        if isinstance(found, _Ready):
            ready[number] = found
            _count(found)
        else:
            answers[number] = found
    _reserve([each for each in ready.values() if each.start is None])
    going = _due(ready, answers)
    answers |= _stopped_by_breakers(session, going)
    orders = {number: each for number, each in going.items() if number not in answers}
    _mark(session, orders.values())
    return [answers[number] if number in answers else _order(orders[number]) for number in range(len(wishes))]


def _count(ready: _Ready) -> None:
    """Reserve at once for a message that the next ones are judged by, and count it if it goes."""
    ready.start = ready.wish.start
    if not gates.counts(ready.seen):
        return
    if ready.start is None:
        _reserve([ready])
    if ready.start is not None and ready.start.slot.reserved:
        gates.goes(ready.seen)


def _due(ready: dict[int, _Ready], answers: dict[int, Begun | Outcome]) -> dict[int, _Ready]:
    """Return those whose slot is now; the answer to the others is when it is."""
    going: dict[int, _Ready] = {}
    for number, each in ready.items():
        start = each.start
        assert start is not None
        if not start.slot.reserved:
            answers[number] = pacing.waiting(each.seen, start.slot)
        elif start.left > pacing.MARK_AHEAD_JOB:
            answers[number] = start
        else:
            going[number] = each
    return going


def _judged(session: Session, wish: Wish, seen: Look | None) -> _Ready | Begun | Outcome:
    if seen is None:
        return Permanent(f"There is no message {wish.message_id}.", code="no_message")
    if not _may_be_sent(session, seen, wish.claim):
        return None
    seen, found = _against(session, seen)
    if found:
        return _put_off(session, seen, found)
    to = seen.address()
    if to is None:
        return Permanent("This contact has no identity that the channel can reach.", code="no_identity")
    try:
        content = attachments.resolved(session, seen.channel, seen.row.id, seen.row.type, seen.row.content)
    except Outcome as outcome:
        return outcome
    return content if isinstance(content, attachments.Uploads) else _Ready(wish, seen, to, content)


def _reserve(ready: Sequence[_Ready]) -> None:
    starts = pacing.reserve_many([(each.seen, each.wish.claim.priority) for each in ready]) if ready else []
    for each, start in zip(ready, starts, strict=True):
        each.start = start


def _stopped_by_breakers(session: Session, going: dict[int, _Ready]) -> dict[int, Snooze | None]:
    """Return those who must wait, as their provider keeps failing.

    Asked last of all: who may go while a provider is being tried again is the one that tries.
    """
    by_channel: dict[uuid.UUID, list[int]] = {}
    for number, each in going.items():
        by_channel.setdefault(each.seen.row.channel_id, []).append(number)
    stopped: dict[int, Snooze | None] = {}
    for channel_id, numbers in by_channel.items():
        allowed, wait = breaker.permit(pacing.breaker_key(channel_id), len(numbers))
        for number in numbers[allowed:]:
            each = going[number]
            if each.start is not None:
                pace.give_back(each.start.slot)
            stopped[number] = _put_off(session, each.seen, [pacing.wait_for_breaker(each.seen, wait)])
    return stopped


def _mark(session: Session, going: Iterable[_Ready]) -> None:
    marked = list(going)
    if not marked:
        return
    values = {
        "ids": [each.seen.row.id for each in marked],
        "claims": [each.wish.claim.claim_no for each in marked],
        "costs": [gates.cost_of(each.seen) for each in marked],
    }
    driver(session).execute(_MARK, values)


def _order(each: _Ready) -> Order:
    row = each.seen.row
    message = Outgoing(
        id=str(row.id),
        to=each.to,
        type=row.type,
        content=each.content,
        context_id=row.context_provider_id,
        workspace_id=str(row.workspace_id),
        contact_id=str(row.contact_id or ""),
        category=row.category,
    )
    assert each.start is not None
    sender, test = workspaces.sender(each.seen.channel), row.author == trying.AUTHOR
    return Order(each.seen.provider, sender, message, each.start, test)


def _may_be_sent(session: Session, seen: Look, claim: Claim) -> bool:
    """Say whether a message still waits; one that an earlier claim was sending may have left."""
    if seen.state is MessageState.SENDING and seen.row.claim_no != claim.claim_no:
        unknown.begin(session, session.get_one(Message, seen.row.id), "its worker went away while it was being sent")
    return seen.state is MessageState.QUEUED


def _against(session: Session, seen: Look) -> tuple[Look, list[gates.Finding]]:
    """Return what speaks against sending; where the window is closed, the template that was named takes its turn."""
    found = gates.findings(session, seen)
    if any(finding.rule == "window_closed" for finding in found) and take_template(
        session, session.get_one(Message, seen.row.id)
    ):
        (seen,) = looks(session, [seen.row.id], lock=True)
        found = gates.findings(session, seen)
    return seen, found


def take_template(session: Session, message: Message) -> bool:
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
