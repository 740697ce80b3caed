"""Many messages in one transaction: each is judged as if it were alone, and the rules that count count the others."""

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.contacts.models import Identity
from crm_tasks.core import breaker, db
from crm_tasks.core.errors import Permanent, Snooze
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.redis import manager
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import Category, Message, MessageState
from crm_tasks.messages.service import outbox, pacing, results, sending
from crm_tasks.messages.service.results import Answered
from crm_tasks.messages.service.sending import Order, Wish
from crm_tasks.providers.provider import Accepted, Unknown
from crm_tasks.workspaces import policies
from tests.core.ledger import take
from tests.fixtures import Demo
from tests.messages.apply import one, reports, rows

HELLO = {"name": "hello_world", "language": {"code": "en_US"}}


@pytest.fixture(autouse=True)
def paced_for_long(empty: None) -> None:
    """With a new account of the pace, everything would wait two seconds."""
    manager().client().hset("crm:pace", "since", 1)


def accept(demo: Demo, *to: str) -> list[Message]:
    """Accept a template to each of these."""
    new = outbox.NewMessage(type="template", content=HELLO, category=Category.MARKETING)
    with db.transaction() as session:
        return [outbox.send_to(session, demo.workspace_id, demo.channel_id, each, new) for each in to]


def people(count: int) -> list[str]:
    return [f"+1555000{number:04d}" for number in range(count)]


def wishes(messages: Sequence[Message]) -> list[Wish]:
    """Claim the jobs of messages."""
    return [Wish(message.id, claim) for message in messages if (claim := take(message.job_id)) is not None]


def begin(wanted: Sequence[Wish]) -> list[Any]:
    with db.transaction() as session:
        return sending.begin_many(session, wanted)


def policy(demo: Demo, name: str, value: dict[str, Any]) -> None:
    with db.transaction() as session:
        policies.put(session, demo.workspace_id, name, value, actor="ann@example.test")


def states(messages: Sequence[Message]) -> list[MessageState]:
    return [one(Message, Message.id == message.id).state for message in messages]


def test_a_budget_is_counted_within_the_transaction(demo: Demo) -> None:
    policy(demo, "prices", {"whatsapp_marketing": 0.1})
    policy(demo, "budget", {"amount": 0.35, "per": "day"})
    messages = accept(demo, *people(5))
    found = begin(wishes(messages))
    assert [type(each) for each in found] == [Order, Order, Order, Snooze, Snooze]
    assert {each.code for each in found[3:]} == {"budget"}
    assert states(messages) == [MessageState.SENDING] * 3 + [MessageState.QUEUED] * 2
    assert [one(Message, Message.id == message.id).cost for message in messages] == [100_000] * 3 + [None] * 2


def test_a_cap_counts_what_goes_to_the_same_person_in_the_same_moment(demo: Demo) -> None:
    policy(demo, "frequency_cap", {"messages": 1, "days": 7})
    ann, bob = people(2)
    first, second, third = accept(demo, ann, ann, bob)
    with db.transaction() as session:  # in another conversation it would be another job that runs beside the first
        session.execute(sa.text("UPDATE jobs SET serial_key = NULL"))
    found = begin(wishes([first, second, third]))
    assert [type(each) for each in found] == [Order, Snooze, Order]
    assert found[1].code == "frequency_cap"


def test_of_many_one_tries_a_provider_that_kept_failing(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    key = pacing.breaker_key(demo.channel_id)
    breaker.report(key, *[False] * 10)
    closed = begin(wishes(accept(demo, *people(3))))
    assert {each.code for each in closed} == {"breaker"}
    monkeypatch.setattr(breaker._Breaker, "position", lambda self, now: breaker.Position.HALF_OPEN)
    found = begin(wishes(accept(demo, *people(6)[3:])))
    assert [type(each) for each in found] == [Order, Snooze, Snooze]


def test_a_message_that_two_jobs_want_is_begun_once(demo: Demo) -> None:
    (message,) = accept(demo, *people(1))
    (wish,) = wishes([message])
    found = begin([wish, Wish(message.id, wish.claim)])
    assert isinstance(found[0], Order)
    assert isinstance(found[1], Snooze)


def test_who_cannot_be_reached_harms_nobody(demo: Demo) -> None:
    messages = accept(demo, *people(3))
    with db.transaction() as session:
        session.execute(sa.delete(Identity).where(Identity.contact_id == messages[1].contact_id))
    (first, second, third) = begin(wishes(messages))
    assert (type(first), type(second), type(third)) == (Order, Permanent, Order)
    assert second.code == "no_identity"


def test_what_was_being_sent_by_an_earlier_claim_becomes_unknown_beside_the_others(demo: Demo) -> None:
    messages = accept(demo, *people(2))
    wanted = wishes(messages)
    with db.transaction() as session:
        session.execute(
            sa.update(Message).where(Message.id == messages[0].id).values(state=MessageState.SENDING, claim_no=0)
        )
    assert [type(each) for each in begin(wanted)] == [type(None), Order]
    assert states(messages) == [MessageState.UNKNOWN, MessageState.SENDING]
    with db.transaction() as session:
        query = "SELECT parent_id FROM jobs WHERE task = 'messages.settle'"
        assert session.scalars(sa.text(query)).all() == [wanted[0].claim.id]


# --- what came of them -------------------------------------------------------------------------------------------


def record(orders: Sequence[Order], claims: Sequence[Claim], answers: Sequence[Any]) -> None:
    with db.transaction() as session:
        given = [Answered(*each) for each in zip(orders, claims, answers, strict=True)]
        results.record_many(session, given)


def test_answers_are_kept_together_each_with_its_message(demo: Demo) -> None:
    messages = accept(demo, *people(4))
    wanted = wishes(messages)
    said = [Accepted("W0", wa_id="15550000000"), Accepted("W1"), Unknown("the connection broke"), Accepted("W3")]
    record(begin(wanted), [wish.claim for wish in wanted], said)
    kept = [one(Message, Message.id == message.id) for message in messages]
    assert [each.provider_id for each in kept] == ["W0", "W1", None, "W3"]
    assert [each.state for each in kept] == [
        MessageState.ACCEPTED,
        MessageState.ACCEPTED,
        MessageState.UNKNOWN,
        MessageState.ACCEPTED,
    ]
    assert all(each.accepted_at for each in kept if each.provider_id)
    assert [[event.status for event in reports(name)] for name in ("W0", "W1", "W3")] == [["accepted"]] * 3


def test_a_report_that_came_before_the_answer_is_applied_with_it(demo: Demo) -> None:
    messages = accept(demo, *people(2))
    wanted = wishes(messages)
    orders = begin(wanted)
    parked = (
        "INSERT INTO status_events (id, workspace_id, channel_id, provider_id, status, recipient, occurred_at, detail)"
        " VALUES (:id, :workspace, :channel, 'W1', 'delivered', '', crm_now(), '{}')"
    )
    with db.transaction() as session:
        values = {"id": new_id(), "workspace": demo.workspace_id, "channel": demo.channel_id}
        session.execute(sa.text(parked), values)
    record(orders, [wish.claim for wish in wanted], [Accepted("W0"), Accepted("W1")])
    assert states(messages) == [MessageState.ACCEPTED, MessageState.DELIVERED]


def test_another_answer_to_the_same_message_is_kept_as_an_event(demo: Demo) -> None:
    messages = accept(demo, *people(2))
    wanted = wishes(messages)
    orders, claims = begin(wanted), [wish.claim for wish in wanted]
    record(orders[:1], claims[:1], [Accepted("W0")])
    record(orders, claims, [Accepted("TWICE"), Accepted("W1")])
    assert one(Message, Message.id == messages[0].id).provider_id == "W0"
    assert [event.status for event in reports("TWICE")] == ["accepted"]
    assert one(Message, Message.id == messages[1].id).provider_id == "W1"


def test_the_names_by_which_a_provider_knows_people_are_learned(demo: Demo) -> None:
    messages = accept(demo, *people(2))
    wanted = wishes(messages)
    record(
        begin(wanted),
        [wish.claim for wish in wanted],
        [Accepted("W0", wa_id="15559990000", bsuid="US.abc"), Accepted("W1", wa_id="15550000001")],
    )
    first = {row.value for row in rows(Identity, Identity.contact_id == messages[0].contact_id)}
    assert {"15559990000", "US.abc"} <= first
    second = rows(Identity, Identity.contact_id == messages[1].contact_id, Identity.value == "15550000001")
    assert len(second) == 1
