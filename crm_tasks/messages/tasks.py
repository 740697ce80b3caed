"""Doors of the queue `messages`: open a transaction, call the room, close."""

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from celery import signals
from sqlalchemy.orm import Session

from crm_tasks.celery import app
from crm_tasks.core import db, pace
from crm_tasks.core.combine import Combiner
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Outcome, Permanent, Snooze, Transient
from crm_tasks.core.jobs import claim as claims
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.log import get_logger
from crm_tasks.core.queues import Queue
from crm_tasks.core.task import finishing, job, record, until_stored
from crm_tasks.media.service import fetching
from crm_tasks.messages.service import attachments, leaving, reading, results, sending, trying
from crm_tasks.messages.service import receive as receiving
from crm_tasks.messages.service import settle as settling
from crm_tasks.messages.service.attachments import Uploads
from crm_tasks.messages.service.pacing import MARK_AHEAD_JOB, Start
from crm_tasks.messages.service.results import Answered
from crm_tasks.messages.service.sending import Wish
from crm_tasks.providers import http, tape
from crm_tasks.providers.provider import Action, Refusal
from crm_tasks.providers.whatsapp import templates as lists
from crm_tasks.templates import service as templates
from crm_tasks.templates import sync as template_sync
from crm_tasks.workspaces import credentials

log = get_logger(__name__)
Begin = Callable[[Wish], sending.Begun]
Also = Callable[[Session, sending.Order, Refusal], None]


@signals.worker_ready.connect
def _keep_credentials(sender: Any, **_: Any) -> None:
    if Queue.MESSAGES in sender.controller.app.amqp.queues.consume_from:
        credentials.begin()


@app.task(name="messages.receive")
def receive(event_ids: list[str]) -> None:
    """Apply webhook events. One that fails is found by taking each alone, and put aside."""
    ids = [uuid.UUID(each) for each in event_ids]
    try:
        with finishing() as session:
            receiving.receive(session, ids)
        return
    except Exception as error:  # whatever a foreign event can cause must not stop the others
        if isinstance(error, Outcome) or db.is_transient(error):
            raise
        log.warning("receive.one_by_one", events=len(ids), error=type(error).__name__)
    for event_id in ids:
        _receive_alone(event_id)


def _receive_alone(event_id: uuid.UUID) -> None:
    try:
        db.retrying(receiving.receive, [event_id])
    except Exception as error:
        if db.is_transient(error):
            raise
        log.exception("receive.failed", event_id=str(event_id))
        db.retrying(receiving.quarantine, event_id, f"{type(error).__name__}: {db.reason(error)}")


# --- out: a worker's threads send together, each its own message --------------------------------------------------


def _begin_many(wishes: Sequence[Wish]) -> list[Any]:
    with transaction() as session:
        return sending.begin_many(session, wishes)


def _record_many(answers: Sequence[Answered]) -> list[None]:
    wanted = [each.claim for each in answers]
    try:
        with transaction() as session:
            results.record_many(session, answers)
            claims.finish_many(session, wanted)
    except BaseException:
        for claim in wanted:
            claim.finished = False
        raise
    results.heard(answers)
    return [None] * len(answers)


_begun: Combiner[Wish, sending.Begun] = Combiner(_begin_many, name="begin", at_most=50)
_recorded: Combiner[Answered, None] = Combiner(_record_many, name="record", at_most=50)


@app.task(name="messages.send", follow=results.follow)
def send(message_id: str) -> None:
    """Send one message."""
    deliver(uuid.UUID(message_id))


def deliver(wanted: uuid.UUID, *, begin: Begin = _begun.ask, also: Also | None = None) -> None:
    """Send one message by the job at hand. The provider is called with no transaction open.

    Args:
        begin: takes the last look and marks the message, as `sending.begin_many` does.
        also: what a room keeps of a clear no beside the rest.
    """
    claim = job()
    order = _begin(wanted, claim, begin)
    if order is None:
        return
    with tape.recording(order.sender.credentials, wanted=order.test) as said:
        result = leaving.leave(order, lambda: claim.holds_for(http.longest()))
    if said:
        _keep(wanted, said)
    if result is None:
        why = "no slot was near, or the lease would not outlast the request"
        raise Snooze(timedelta(seconds=1), why, code="not_left")
    answered = Answered(order, claim, result)
    if isinstance(answered.result, Refusal):
        outcome = until_stored(partial(db.retrying, _refused, answered, also))
        results.heard([answered])
        raise outcome
    until_stored(partial(_recorded.ask, answered))


def _keep(message_id: uuid.UUID, said: Sequence[tape.Exchange]) -> None:
    """Keep what was said with a test; what came of it is worth more, and must be written whatever becomes of this."""
    try:
        db.retrying(trying.keep, message_id, said)
    except Exception as error:  # noqa: BLE001  whatever it was
        log.warning("test.not_kept", message_id=str(message_id), error=type(error).__name__)


def _refused(session: Session, answered: Answered, also: Also | None) -> Outcome:
    order, no = answered.order, answered.result
    assert isinstance(no, Refusal)
    outcome = results.refused(session, answered.message_id, answered.claim, no, sender=order.sender)
    if also is not None:
        also(session, order, no)
    return outcome


def _begin(message_id: uuid.UUID, claim: Claim, begin: Begin) -> sending.Order | None:
    """Mark a message as `sending`; before that, bring its files to a provider that does not know them, and wait for
    its slot.

    Raises:
        Outcome: it is not sent, or not now.
    """
    start: Start | None = None
    while True:
        try:
            order = begin(Wish(message_id, claim, start))
            if isinstance(order, Snooze):
                raise order
        except BaseException:
            if start is not None:
                pace.give_back(start.slot)
            raise
        if isinstance(order, Start):
            start = order
            time.sleep(max(0.0, start.left - MARK_AHEAD_JOB / 2))
            continue
        if not isinstance(order, Uploads):
            if start is not None and order is None:
                pace.give_back(start.slot)
            return order
        attachments.bring(order)


@app.task(name="messages.fetch_media", follow=attachments.follow)
def fetch_media(media_id: str) -> None:
    """Fetch a file that a customer sent or that a link leads to. It comes with no transaction open."""
    wanted = uuid.UUID(media_id)
    with transaction() as session:
        order = fetching.begin(session, wanted)
    if order is None:
        return
    fetched = fetching.fetch(order)
    record(lambda session: attachments.kept(session, wanted, fetched))


@app.task(name="messages.mark_read", editable=("typing",))
def mark_read(message_id: str, typing: bool) -> None:
    """Tell the provider that a customer's message was read, maybe also that somebody types."""
    wanted = uuid.UUID(message_id)
    with transaction() as session:
        order = reading.begin(session, wanted)
    if order is None:
        return
    order.mark_read(order.sender, order.provider_id, typing)
    with finishing() as session:
        reading.done(session, wanted)


@app.task(name="messages.settle")
def settle(message_id: str) -> None:
    """Look after a send whose outcome nobody knows."""
    with finishing() as session:
        settling.settle(session, uuid.UUID(message_id))


@app.task(name="messages.sync_templates")
def sync_templates(channel_id: str) -> None:
    """Fetch the templates of a channel's account. The provider is asked with no transaction open."""
    with transaction() as session:
        fetch = template_sync.begin(session, uuid.UUID(channel_id))
    if fetch is None:
        return
    found = lists.listed(fetch.account)
    if isinstance(found, Refusal):
        _not_listed(found)
    with finishing() as session:
        template_sync.apply_list(session, uuid.UUID(channel_id), fetch, found)


def _not_listed(no: Refusal) -> NoReturn:
    text, code = f"{no.code}: {no.message}", f"whatsapp:{no.code}"
    if no.action is Action.LATER:
        raise Snooze(timedelta(hours=1), text, code=code)
    raise Transient(text, code=code) if no.action is Action.RETRY else Permanent(text, code=code)


@app.task(name="messages.sync_all_templates")
def sync_all_templates() -> None:
    """Have the templates of every account fetched, a job each."""
    with finishing() as session:
        templates.ask_sync_of(session)
