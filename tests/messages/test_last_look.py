"""The last look at the moment of sending: each gate shuts, says why, and opens to the second; in a real worker."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import Contact, SuppressionScope
from crm_tasks.core import db, holds
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import Hold, JobState
from crm_tasks.messages.models import Category, Conversation, Message, MessageState
from crm_tasks.messages.service import handover, outbox, scheduled
from crm_tasks.workspaces import policies
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import one
from tests.messages.outgoing import ANN, AT_MOST, job_until, message, send_job, until
from tests.outside import Sandbox

pytestmark = pytest.mark.usefixtures("sender")

WORDS = [{"type": "text", "text": "Ann"}, {"type": "text", "text": "A-100"}]
TEMPLATE = {
    "name": "order_update",
    "language": {"code": "en_US"},
    "components": [{"type": "body", "parameters": WORDS}],
}
BERLINER = "+4915112345678"
Clock = Callable[[str], None]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def set_time(clock: Clock, moment: datetime) -> None:
    """Let it be this moment now, and go on from there."""
    with db.transaction() as session:
        real = session.scalar(sa.select(sa.func.now()))
    assert real is not None
    clock(f"now() + interval '{(moment - real).total_seconds():.3f} seconds'")


def say(demo: Demo, *, to: str = ANN, category: Category = Category.MARKETING, **more: Any) -> uuid.UUID:
    """Accept a template."""
    with db.transaction() as session:
        new = outbox.NewMessage(type="template", content=TEMPLATE, category=category, **more)
        return outbox.send_to(session, demo.workspace_id, demo.channel_id, to, new).id


def policy(demo: Demo, name: str, value: dict[str, Any]) -> None:
    with db.transaction() as session:
        policies.put(session, demo.workspace_id, name, value, actor="ann@example.test")


def put_off(message_id: uuid.UUID, rule: str) -> tuple[Message, datetime]:
    """Wait until a message is put off by a rule, and return until when; nothing of it was lost or tried."""
    found = eventually(
        lambda: m if (m := message(message_id)).gates and m.gates[0]["rule"] == rule else None, rule, AT_MOST
    )
    job = job_until(message_id, lambda j: j.state is JobState.QUEUED and j.rung_at is None, "snoozed")
    assert (found.state, job.attempt) == (MessageState.QUEUED, 0)
    assert found.gates is not None
    until = datetime.fromisoformat(found.gates[0]["until"])
    assert job.run_at == until
    return found, until


def test_quiet_hours_hold_marketing_to_the_second_through_the_night_that_is_too_short(
    shop: Demo, sandbox: Sandbox, clock: Clock
) -> None:
    policy(shop, "quiet_hours", {"from": "21:00", "to": "02:30"})
    set_time(clock, utc("2027-03-27T21:00"))  # 22:00 in Berlin; 02:30 does not exist that night
    waits = say(shop, to=BERLINER)
    utility = say(shop, to=BERLINER, category=Category.UTILITY)
    found, opens = put_off(waits, "quiet_hours")
    assert opens == utc("2027-03-28T01:00")
    (gate,) = found.gates or ()
    assert (gate["value"], gate["limit"], gate["set_by"]) == (
        "22:00 in Europe/Berlin",
        "21:00 to 02:30",
        "ann@example.test",
    )
    until(utility, MessageState.ACCEPTED)
    set_time(clock, opens + timedelta(seconds=1))
    sent = until(waits, MessageState.ACCEPTED)
    assert (sent.gates, len(sandbox.sends())) == (None, 2)


def test_the_zone_of_the_contact_is_the_one_that_counts(shop: Demo, clock: Clock) -> None:
    policy(shop, "quiet_hours", {"from": "21:00", "to": "08:00"})
    set_time(clock, utc("2027-06-01T12:00"))  # noon in London, 21:00 in Tokyo
    first = say(shop, to=BERLINER, scheduled_for=utc("2027-06-01T12:10"))
    with db.transaction() as session:
        session.execute(
            sa.update(Contact).where(Contact.id == message(first).contact_id).values(time_zone="Asia/Tokyo")
        )
    set_time(clock, utc("2027-06-01T12:10:01"))
    _, opens = put_off(first, "quiet_hours")
    assert opens == utc("2027-06-01T23:00")


def test_the_cap_counts_marketing_on_all_channels_and_opens_when_the_oldest_is_old_enough(
    shop: Demo, sandbox: Sandbox, clock: Clock
) -> None:
    policy(shop, "frequency_cap", {"messages": 2, "days": 7})
    set_time(clock, utc("2027-02-01T10:00"))
    first = until(say(shop), MessageState.ACCEPTED)
    set_time(clock, utc("2027-02-03T10:00"))
    until(say(shop), MessageState.ACCEPTED)
    third = say(shop)
    found, opens = put_off(third, "frequency_cap")
    assert first.accepted_at is not None
    assert timedelta(0) <= opens - (first.accepted_at + timedelta(days=7)) < timedelta(seconds=1)
    assert (found.gates or [{}])[0]["limit"] == "2 in 7 days"
    until(say(shop, category=Category.UTILITY), MessageState.ACCEPTED)
    set_time(clock, opens)
    until(third, MessageState.ACCEPTED)
    assert len(sandbox.sends()) == 4


def test_two_gates_at_once_are_both_told_and_the_later_one_decides(shop: Demo, clock: Clock) -> None:
    set_time(clock, utc("2027-02-01T12:00"))
    until(say(shop, to=BERLINER), MessageState.ACCEPTED)
    policy(shop, "frequency_cap", {"messages": 1, "days": 30})
    policy(shop, "quiet_hours", {"from": "00:00", "to": "23:59"})
    second = say(shop, to=BERLINER)
    job = job_until(second, lambda j: j.run_at > utc("2027-02-20T00:00"), "put off for long")
    gates = message(second).gates
    assert gates is not None
    assert {gate["rule"] for gate in gates} == {"quiet_hours", "frequency_cap"}
    assert job.run_at == max(datetime.fromisoformat(gate["until"]) for gate in gates)


def test_a_suppressed_person_gets_nothing_and_the_message_says_why(shop: Demo, sandbox: Sandbox) -> None:
    with db.transaction() as session:
        suppression.suppress(
            session,
            shop.workspace_id,
            ANN,
            medium="whatsapp",
            scope=SuppressionScope.MARKETING,
            reason="keyword",
            actor="customer",
            evidence={"text": "STOP"},
        )
    ended = until(say(shop), MessageState.SUPPRESSED)
    assert ended.error is not None and ended.error["code"] == "suppressed"
    assert "keyword" in ended.error["title"] and "customer" in ended.error["title"]
    assert job_until(ended.id, lambda j: j.state is JobState.SUCCEEDED, "over").attempt == 0
    until(say(shop, category=Category.UTILITY), MessageState.ACCEPTED)
    until(say(shop, to="+15550002222"), MessageState.ACCEPTED)
    assert len(sandbox.sends()) == 2


def test_opted_out_between_acceptance_and_sending_counts(shop: Demo, sandbox: Sandbox, clock: Clock) -> None:
    set_time(clock, utc("2027-02-01T12:00"))
    waits = say(shop, scheduled_for=utc("2027-02-01T13:00"))
    with db.transaction() as session:
        for scope in SuppressionScope:
            suppression.suppress_contact(
                session,
                shop.workspace_id,
                message(waits).contact_id,  # type: ignore[arg-type]
                medium="*",
                scope=scope,
                reason="api",
                actor="key:1",
                evidence={},
            )
    set_time(clock, utc("2027-02-01T13:00:01"))
    ended = until(waits, MessageState.SUPPRESSED)
    assert len(ended.gates or ()) == 2
    assert sandbox.sends() == []


def test_a_person_who_takes_over_silences_what_is_automatic(shop: Demo, sandbox: Sandbox) -> None:
    first = until(say(shop, category=Category.SERVICE), MessageState.ACCEPTED)
    with db.transaction() as session:
        handover.take_over(session, shop.workspace_id, first.conversation_id, actor="bob@example.test")
    ended = until(say(shop, author="ai"), MessageState.SUPPRESSED)
    assert ended.error is not None and "bob@example.test" in ended.error["title"]
    until(say(shop, author="agent"), MessageState.ACCEPTED)
    with db.transaction() as session:
        handover.hand_back(session, shop.workspace_id, first.conversation_id)
    until(say(shop, author="ai"), MessageState.ACCEPTED)
    assert one(Conversation).human_by is None
    assert len(sandbox.sends()) == 3


def test_a_budget_is_kept_exactly_though_many_send_at_once(shop: Demo, sandbox: Sandbox, clock: Clock) -> None:
    set_time(clock, utc("2027-02-10T12:00"))
    policy(shop, "prices", {"whatsapp_marketing": 0.05})
    policy(shop, "budget", {"amount": 0.2, "per": "day"})
    sent = [say(shop, to=f"+1555000{number}") for number in range(1111, 1117)]
    eventually(lambda: len(sandbox.sends()) == 4, "as many as the budget allows", AT_MOST)
    waiting = eventually(
        lambda: two if len(two := [each for each in sent if message(each).gates]) == 2 else None, "two wait", AT_MOST
    )
    for each in waiting:
        _, opens = put_off(each, "budget")
        assert opens == utc("2027-02-11T00:00")
    set_time(clock, utc("2027-02-11T00:00"))
    for each in sent:
        assert until(each, MessageState.ACCEPTED).cost == 50_000
    assert len(sandbox.sends()) == 6


def test_a_hold_of_the_contact_is_obeyed_and_named(shop: Demo, sandbox: Sandbox) -> None:
    first = until(say(shop), MessageState.ACCEPTED)
    with db.transaction() as session:
        hold = holds.place(session, f"contact:{first.contact_id}", reason="a complaint", actor="bob")
    second = say(shop)
    job = job_until(second, lambda j: j.held_by == str(hold.id), "held")
    assert message(second).state is MessageState.QUEUED
    assert (job.attempt, one(Hold).reason, len(sandbox.sends())) == (0, "a complaint", 1)
    with db.transaction() as session:
        holds.release(session, hold.id, actor="bob")
    until(second, MessageState.ACCEPTED)


# --- a time to be sent at ----------------------------------------------------------------------------------------


def test_a_scheduled_message_waits_as_a_row_and_leaves_when_it_is_due(
    shop: Demo, sandbox: Sandbox, clock: Clock
) -> None:
    set_time(clock, utc("2027-02-01T12:00"))
    waits = say(shop, scheduled_for=utc("2027-02-03T09:00"))
    past = say(shop, scheduled_for=utc("2027-01-01T09:00"))
    assert until(past, MessageState.ACCEPTED).scheduled_for is None
    with db.transaction() as session:
        assert [each.id for each in scheduled.listed(session, shop.workspace_id)] == [waits]
    assert send_job(waits).run_at == utc("2027-02-03T09:00")
    with db.transaction() as session:
        scheduled.move(session, waits, utc("2027-02-02T09:00"), actor="bob", workspace_id=shop.workspace_id)
    set_time(clock, utc("2027-02-02T08:59:30"))
    assert message(waits).state is MessageState.QUEUED
    set_time(clock, utc("2027-02-02T09:00"))
    until(waits, MessageState.ACCEPTED)
    assert len(sandbox.sends()) == 2


def test_a_cancelled_one_never_leaves(shop: Demo, sandbox: Sandbox, clock: Clock) -> None:
    set_time(clock, utc("2027-02-01T12:00"))
    waits = say(shop, scheduled_for=utc("2027-02-03T09:00"))
    with db.transaction() as session:
        ended = scheduled.cancel(session, waits, actor="bob", workspace_id=shop.workspace_id)
        assert ended.state is MessageState.CANCELLED
    set_time(clock, utc("2027-02-04T09:00"))
    until(say(shop), MessageState.ACCEPTED)
    with db.transaction() as session:
        assert repair.get(session, send_job(waits).id).state is JobState.CANCELLED
    assert len(sandbox.sends()) == 1
