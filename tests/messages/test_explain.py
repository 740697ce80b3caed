"""Why a message waits: for every gate the situation is made, and the answer names that gate first; and its story."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.core import db, holds, rollup
from crm_tasks.core.jobs.explain import Place
from crm_tasks.core.jobs.model import Job, Process
from crm_tasks.messages.models import RANK, Message, MessageState
from crm_tasks.messages.service import explain, handover
from tests import payloads
from tests.core.ledger import execute, many, update
from tests.fixtures import Demo
from tests.messages.apply import accepted, hear, tell
from tests.messages.outgoing import ANN, message, send_job, until
from tests.messages.test_last_look import policy, say, set_time, utc
from tests.outside import Sandbox
from tests.plans import asked, pages_read

NOON = utc("2027-02-10T12:00")


@pytest.fixture
def waiting(demo: Demo, clock: Callable[[str], None]) -> Iterator[Demo]:
    """A business whose messages wait, as its worker is there and takes none."""
    with db.transaction() as session:
        session.add(Process(kind="worker", name="idle@test", host="h", pid=1, queues=["messages"], pool="threads"))
    set_time(clock, NOON)
    yield demo


def ask(demo: Demo, message_id: uuid.UUID) -> explain.Explanation:
    with db.transaction() as session:
        return explain.message(session, message_id, workspace_id=demo.workspace_id)


def _hold(scope: str) -> Callable[[Demo], uuid.UUID]:
    def make(demo: Demo) -> uuid.UUID:
        with db.transaction() as session:
            filled = scope.format(workspace=demo.workspace_id, channel=demo.channel_id)
            holds.place(session, filled, reason="an incident", actor="bob")
        return say(demo)

    return make


def _contact_held(demo: Demo) -> uuid.UUID:
    made = say(demo)
    with db.transaction() as session:
        holds.place(session, f"contact:{message(made).contact_id}", reason="a complaint", actor="bob")
    return made


def _suppressed(demo: Demo) -> uuid.UUID:
    with db.transaction() as session:
        how = {"reason": "keyword", "actor": "customer", "evidence": {}}
        suppression.suppress(
            session, demo.workspace_id, ANN, medium="whatsapp", scope=SuppressionScope.MARKETING, **how
        )
    return say(demo)


def _quiet(demo: Demo) -> uuid.UUID:
    policy(demo, "quiet_hours", {"from": "00:00", "to": "23:59"})
    return say(demo)


def _capped(demo: Demo) -> uuid.UUID:
    policy(demo, "frequency_cap", {"messages": 1, "days": 3})
    first = say(demo)
    with db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == first).values(state="accepted", accepted_at=NOON))
        session.execute(sa.delete(Job))
    return say(demo)


def _over_budget(demo: Demo) -> uuid.UUID:
    policy(demo, "prices", {"whatsapp": 1})
    policy(demo, "budget", {"amount": 0.5, "per": "month"})
    return say(demo)


def _taken_over(demo: Demo) -> uuid.UUID:
    made = say(demo, author="ai")
    with db.transaction() as session:
        handover.take_over(session, demo.workspace_id, message(made).conversation_id, actor="bob")
    return made


def _scheduled(demo: Demo) -> uuid.UUID:
    return say(demo, scheduled_for=NOON + timedelta(days=1))


def _after_another(demo: Demo) -> uuid.UUID:
    say(demo)
    return say(demo)


def _failed_once(demo: Demo) -> uuid.UUID:
    made = say(demo)
    error = {"at": NOON.isoformat(), "attempt": 1, "code": "whatsapp:2", "class": "Transient", "message": "overloaded"}
    change = sa.update(Job).values(errors=[error], attempt=1, run_at=NOON + timedelta(seconds=30))
    with db.transaction() as session:
        session.execute(change.where(Job.id == send_job(made).id))
    return made


def _no_worker(demo: Demo) -> uuid.UUID:
    with db.transaction() as session:
        session.execute(sa.delete(Process))
    return say(demo)


GATES: list[tuple[Callable[[Demo], uuid.UUID], str, str]] = [
    (_hold("all"), "hold", "bob"),
    (_hold("queue:messages"), "hold", "bob"),
    (_hold("workspace:{workspace}"), "hold", "bob"),
    (_hold("channel:{channel}"), "hold", "bob"),
    (_contact_held, "hold", "bob"),
    (_suppressed, "suppressed", "customer"),
    (_quiet, "quiet_hours", "ann@example.test"),
    (_capped, "frequency_cap", "ann@example.test"),
    (_over_budget, "budget", "ann@example.test"),
    (_taken_over, "human_took_over", "bob"),
    (_scheduled, "scheduled", "the request"),
    (_after_another, "serial", "system"),
    (_failed_once, "retry", "system"),
    (_no_worker, "no_worker", "system"),
]


@pytest.mark.parametrize(("make", "gate", "set_by"), GATES, ids=[f"{gate}-{n}" for n, (_, gate, _) in enumerate(GATES)])
def test_the_gate_is_named_first_with_who_set_it(
    waiting: Demo, make: Callable[[Demo], uuid.UUID], gate: str, set_by: str
) -> None:
    made = make(waiting)
    told = ask(waiting, made)
    assert [(reason.gate, reason.set_by) for reason in told.reasons][:1] == [(gate, set_by)], told.reasons
    assert gate in told.summary
    with db.transaction() as session:
        by_job = explain.job(session, send_job(made).id)
    assert by_job.reasons[0].gate == gate


def test_two_gates_are_both_told(waiting: Demo) -> None:
    policy(waiting, "quiet_hours", {"from": "00:00", "to": "23:59"})
    made = _suppressed(waiting)
    assert [reason.gate for reason in ask(waiting, made).reasons] == ["suppressed", "quiet_hours"]


def test_one_that_only_waits_for_its_turn_says_its_place(waiting: Demo) -> None:
    for number in range(3):
        say(waiting, to=f"+1555000200{number}")
    told = ask(waiting, say(waiting))
    assert (told.reasons, told.summary) == ([], "It waits for a worker.")
    assert told.place is not None and told.place.ahead == 3


def _got_through(jobs: int, minutes_ago: int) -> None:
    """Have the queue of messages got through so many jobs in one minute, some minutes ago."""
    ids = many(jobs)
    at = f"date_trunc('minute', crm_now()) - interval '{minutes_ago} min'"
    update(ids, f"state = 'succeeded', rung_at = NULL, finished_at = {at}, started_at = {at}, created_at = {at}")


@pytest.mark.parametrize("rolled_up", [True, False])
def test_it_may_start_as_soon_as_the_queue_gets_there_at_its_best_pace_lately(waiting: Demo, rolled_up: bool) -> None:
    """Three before it, six in the best minute: half a minute. The idle minutes say nothing of how fast it is."""
    for number in range(3):
        say(waiting, to=f"+1555000200{number}")
    last = say(waiting)
    for jobs, minutes_ago in ((2, 3), (6, 4), (90, 15)):
        _got_through(jobs, minutes_ago)
    while rolled_up and db.retrying(rollup.roll_up):
        pass
    with db.transaction() as session:
        told = explain.message(session, last, workspace_id=waiting.workspace_id)
        moment = session.execute(sa.select(db.now())).scalar_one()
    assert told.place == Place(3, moment + timedelta(seconds=30))


def test_the_place_is_found_without_a_look_at_what_is_over(waiting: Demo) -> None:
    say(waiting, to="+15550002000")
    last = say(waiting)
    execute(
        "INSERT INTO jobs (id, task, queue, args, state, max_attempts, run_at, created_at, started_at, finished_at) "
        "SELECT uuidv7(), 'messages.test_note', 'messages', '{}', 'succeeded', 1, at, at, at, at "
        "FROM generate_series(1, 20000), (SELECT now() - interval '1 day') AS t(at)"
    )
    execute("ANALYZE jobs")

    def look() -> None:
        assert ask(waiting, last).place == Place(1, None)

    read = [pages_read(*each) for each in asked(look) if "FROM jobs" in each[0]]
    assert read
    assert max(read) < 40


def test_a_queue_that_got_through_nothing_lately_predicts_nothing(waiting: Demo) -> None:
    say(waiting, to="+15550002000")
    told = ask(waiting, say(waiting))
    assert told.place == Place(1, None)


@pytest.mark.usefixtures("sender")
def test_the_story_goes_from_the_call_to_the_last_status(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults({"kind": "message", "status": 500, "error_code": 2, "times": 1})
    made = say(shop)
    until(made, MessageState.ACCEPTED)
    told: Any = ask(shop, made)
    assert (told.reasons, told.state) == ([], "accepted")
    steps = [step.what for step in told.story]
    wanted = [
        "message accepted from the caller",
        "messages.send enqueued",
        "messages.send: attempt 1 failed",
        "messages.send started",
        "the provider reports accepted",
    ]
    assert [step for step in steps if step in wanted] == wanted
    assert "whatsapp:2" in next(step.detail for step in told.story if "failed" in step.what)
    assert [step.at for step in told.story] == sorted(step.at for step in told.story)


def test_nothing_is_reported_before_it_was_accepted_though_the_providers_times_are_whole_seconds(demo: Demo) -> None:
    made = accepted(demo, "wamid.ONE")
    second = int(made.created_at.timestamp())
    for name in ("read", "delivered", "sent"):
        tell(demo, payloads.told(demo, statuses=[payloads.status("wamid.ONE", name, at=second)]))
    story = ask(demo, made.id).story
    told = [step.what.removeprefix("the provider reports ") for step in story if "job" not in step.what]
    assert [each for each in told if each in ("message accepted from the caller", *RANK)] == [
        *("message accepted from the caller", "accepted", "sent", "delivered", "read"),
    ]
    assert [step.at for step in story] == sorted(step.at for step in story)


def test_the_story_of_a_webhook_begins_with_it(demo: Demo) -> None:
    hear(demo, payloads.text("Hello"))
    with db.transaction() as session:
        (found,) = session.scalars(sa.select(Message)).all()
        told = explain.message(session, found.id)
    assert told.story[0].what == "webhook received"
    assert [step.what for step in told.story].count("message received") == 1
    assert told.summary == "A customer's message: received."
