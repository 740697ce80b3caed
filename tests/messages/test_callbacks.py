"""What providers other than WhatsApp tell: statuses, texts and verdicts about people, in any order, any times."""

import random
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_tasks.ai import service as ai
from crm_tasks.contacts.models import ConsentEvent, Identity, Suppression
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Conversation, EventState, InboundEvent, Message, MessageState, StatusEvent
from crm_tasks.messages.service import events, ingest, outbox, results
from crm_tasks.prove.events import INVARIANTS
from crm_tasks.providers.provider import Accepted
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel
from tests import payloads
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.gateways import add_channel
from tests.messages.apply import accepted, kept, one, receive_all, reports, rows, tell, wrote

ANN, BO = "+15550001111", "+15550002222"
NOON = "2026-09-21T14:13:20+00:00"


@pytest.fixture
def shop(demo: Demo) -> Demo:
    """A business with an SMS gateway."""
    return add_channel(demo)


def store(shop: Demo, *told: Any, kind: str = "sms") -> list[uuid.UUID]:
    """Keep callbacks as the door does."""
    bodies = [each if isinstance(each, bytes) else orjson.dumps(each) for each in told]
    return [ingest.store(kind, body, [str(shop.channel_id)]) for body in bodies]


def hear(shop: Demo, *told: Any, kind: str = "sms") -> list[InboundEvent]:
    """Keep callbacks and apply each alone."""
    ids = store(shop, *told, kind=kind)
    for event_id in ids:
        receive_all([event_id])
    return [one(InboundEvent, InboundEvent.id == event_id) for event_id in ids]


def status(name: str, provider_id: str = "G1", **more: Any) -> dict[str, Any]:
    return {"messageId": provider_id, "status": name, "to": ANN, "timestamp": NOON, **more}


def text(body: str, message_id: str = "I1", sender: str = ANN) -> dict[str, Any]:
    return {"type": "inbound", "messageId": message_id, "from": sender, "message": body, "timestamp": NOON}


def state(message: Message) -> MessageState:
    return one(Message, Message.id == message.id).state


# --- statuses ----------------------------------------------------------------------------------------------------


def test_a_status_carries_a_text_on(shop: Demo) -> None:
    message = accepted(shop, "G1")
    (event, *_) = hear(shop, status("sent"), status("delivered"))
    assert (event.state, event.workspace_id, event.problem) == (EventState.DONE, shop.workspace_id, None)
    assert state(message) is MessageState.DELIVERED
    assert [each.status for each in reports("G1")] == ["accepted", "sent", "delivered"]


def test_a_status_that_comes_first_waits_for_its_message(shop: Demo) -> None:
    hear(shop, status("delivered"))
    assert state(accepted(shop, "G1")) is MessageState.DELIVERED


def test_our_own_id_settles_what_nobody_knew(shop: Demo) -> None:
    message = accepted(shop, "G1")
    with db.transaction() as session:
        found = session.get_one(Message, message.id)
        found.state, found.provider_id = MessageState.UNKNOWN, None
    hear(shop, {"idempotencyKey": str(message.id), "status": "delivered"})
    found = one(Message, Message.id == message.id)
    assert (found.state, found.provider_id) == (MessageState.DELIVERED, None)
    with db.transaction() as session:  # the provider's own id comes later, and is no second sending
        results.record(session, message.id, Accepted("G1"))
    assert one(Message, Message.id == message.id).provider_id == "G1"


def test_a_status_of_another_channel_is_not_believed(shop: Demo) -> None:
    message = accepted(shop, "G1")
    other = add_channel(make_demo(number="20002", name="Other"))
    hear(other, status("failed"), {"idempotencyKey": str(message.id), "status": "failed"})
    assert state(message) is MessageState.ACCEPTED


def test_twilios_forms_are_read(demo: Demo) -> None:
    shop = add_channel(demo, "twilio")
    message = accepted(shop, "SM1")
    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "To": ANN, "ErrorCode": "30007"}
    (event,) = hear(shop, urlencode(form).encode(), kind="twilio")
    assert event.state is EventState.DONE
    assert (state(message), one(Message).error["code"]) == (MessageState.FAILED, 30007)


# --- texts -------------------------------------------------------------------------------------------------------


def test_a_persons_text_becomes_a_message_with_its_person(shop: Demo) -> None:
    sent = accepted(shop, "G1")
    hear(shop, text("Hé\x00 😀"), text("again", "I1"))
    message = kept("I1")
    assert (message.text, message.content, message.type) == ("Hé\ufffd 😀", {"body": "Hé\ufffd 😀"}, "text")
    assert (message.direction, message.state, message.author) == ("in", MessageState.RECEIVED, "customer")
    assert (message.contact_id, message.conversation_id) == (sent.contact_id, sent.conversation_id)
    assert one(Conversation).last_inbound_at == message.occurred_at
    hear(shop, text("Hi", "I2", BO))
    assert kept("I2").contact_id != sent.contact_id
    assert {each.value for each in rows(Identity, Identity.kind == "phone")} == {ANN, BO}


def test_stop_and_start_are_heard_by_sms_too(shop: Demo) -> None:
    hear(shop, text("STOP"))
    found = one(Suppression)
    assert (found.medium, found.address, found.scope, found.reason, found.actor) == (
        *("sms", ANN, "all", "keyword", "customer"),
    )
    assert found.evidence["word"] == "STOP"
    hear(shop, {**text("START", "I2"), "timestamp": "2026-09-21T15:00:00Z"})
    assert not any(each.active for each in rows(Suppression))


def test_an_answer_by_the_language_model_is_no_longer_than_an_sms_may_be(shop: Demo) -> None:
    with db.transaction() as session:
        workspaces.set_auto_reply(session, workspaces.get(session, shop.workspace_id), on=True)
    hear(shop, text("Where is my order?"))
    assert one(Job, Job.task == "ai.reply").args == {"message_id": str(kept("I1").id)}
    with db.transaction() as session:
        asked = ai.question(session, kept("I1").id)
        assert asked is not None
        answer_id = ai.answer(session, asked, "€ç" * 1000)
    answer = one(Message, Message.id == answer_id)
    assert (answer.parts, answer.text, answer.channel_id) == (10, "€ç" * 335, shop.channel_id)


# --- what cannot be used -----------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_put_aside_and_can_be_replayed(shop: Demo) -> None:
    (event,) = hear(shop, b"{broken")
    assert (event.state, event.problem) == (EventState.QUARANTINED, "not JSON")
    with db.transaction() as session:
        events.replay(session, event.id, actor="test")
    receive_all([event.id])
    assert one(InboundEvent).problem == "not JSON"


def test_a_channel_that_is_gone_is_named(shop: Demo) -> None:
    ids = store(shop, status("sent")) + store(shop, b"", kind="twilio")
    with db.transaction() as session:
        session.execute(sa.delete(Channel).where(Channel.kind == "sms"))
    receive_all(ids)
    problems = [event.problem for event in rows(InboundEvent)]
    assert problems == [f"there is no {kind} channel {shop.channel_id}" for kind in ("sms", "twilio")]


def test_one_that_cannot_be_read_does_not_stop_the_others(shop: Demo) -> None:
    message = accepted(shop, "G1")
    receive_all(store(shop, b"1", status("delivered"), b"{}"))
    assert [event.state for event in rows(InboundEvent)] == ["quarantined", "done", "quarantined"]
    assert state(message) is MessageState.DELIVERED


# --- verdicts ----------------------------------------------------------------------------------------------------


def sms_then(shop: Demo, *channels: Demo) -> Message:
    """Return an accepted text that may also be said on these channels."""
    ways = [{"channel_id": str(each.channel_id), "type": "text", "content": {"body": "Instead"}} for each in channels]
    new = outbox.NewMessage(type="text", content={"body": "Hello"}, fallback={"channels": ways})
    with db.transaction() as session:
        wrote(session, shop, ANN)
        message = outbox.send_to(session, shop.workspace_id, shop.channel_id, ANN, new)
        message.state = MessageState.SENDING
    with db.transaction() as session:
        results.record(session, message.id, Accepted("G1"))
    return message


def stand_ins() -> list[Message]:
    return rows(Message, Message.fallback_of.is_not(None))


@pytest.mark.parametrize("before", [False, True], ids=["after the answer", "before the answer"])
def test_who_cannot_be_reached_is_reached_by_the_next_channel_once(demo: Demo, shop: Demo, before: bool) -> None:
    unreachable = status("failed", errorCode=30003)
    if before:
        hear(shop, unreachable, unreachable)
    message = sms_then(shop, demo)
    hear(shop, unreachable, unreachable)
    hear(shop, status("failed", errorCode=30005))
    (instead,) = stand_ins()
    assert (instead.fallback_of, instead.channel_id, instead.text) == (message.id, demo.channel_id, "Instead")
    assert (instead.contact_id, instead.state) == (message.contact_id, MessageState.QUEUED)
    assert rows(Suppression) == []


@pytest.mark.parametrize("told", [status("failed", errorCode=30007), status("failed"), status("delivered")], ids=str)
def test_any_other_failure_is_not_said_again(demo: Demo, shop: Demo, told: Any) -> None:
    sms_then(shop, demo)
    hear(shop, told)
    assert stand_ins() == []


def test_what_was_delivered_is_not_said_again(demo: Demo, shop: Demo) -> None:
    sms_then(shop, demo)
    hear(shop, status("delivered"), status("failed", errorCode=30003))
    assert stand_ins() == []


def test_who_unsubscribed_is_written_to_no_more_and_the_event_is_the_proof(demo: Demo, shop: Demo) -> None:
    message = sms_then(shop, demo)
    event, *_ = hear(shop, status("failed", errorCode=21610), status("failed", errorCode=21610))
    found = one(Suppression)
    assert (found.medium, found.address, found.scope, found.active) == ("sms", ANN, "all", True)
    assert (found.reason, found.actor) == ("unsubscribed", "provider:sms")
    assert found.evidence == {"message_id": str(message.id), "event_id": str(event.id)}
    assert len(rows(ConsentEvent)) == 1
    assert stand_ins() == []


def test_a_verdict_counts_after_a_failure_without_one(demo: Demo, shop: Demo) -> None:
    sms_then(shop, demo)
    hear(shop, status("failed"), status("failed", errorCode=21610))
    assert one(Suppression).reason == "unsubscribed"


@pytest.mark.parametrize("before", [False, True], ids=["after the answer", "before the answer"])
def test_whatsapps_undeliverable_takes_the_next_channel_once(demo: Demo, shop: Demo, before: bool) -> None:
    errors = [{"code": 131026, "title": "Message undeliverable"}]
    failed = payloads.told(demo, statuses=[payloads.status("G1", "failed", errors=errors)])
    if before:
        tell(demo, failed, failed)
    message = sms_then(demo, shop)
    tell(demo, failed, failed)
    (instead,) = stand_ins()
    assert (instead.fallback_of, instead.channel_id, instead.parts) == (message.id, shop.channel_id, 1)


@pytest.mark.parametrize("code", [131047, 130472])
def test_whatsapps_other_failures_do_not(demo: Demo, shop: Demo, code: int) -> None:
    sms_then(demo, shop)
    tell(demo, payloads.told(demo, statuses=[payloads.status("G1", "failed", errors=[{"code": code}])]))
    assert stand_ins() == []


# --- any order ---------------------------------------------------------------------------------------------------

TOLD = [
    status("sent"),
    status("delivered"),
    status("failed", "G2", errorCode=30003),
    status("failed", "G3", errorCode=21610),
    status("delivered", "G3"),
    status("failed", "G3"),
    status("warped"),
    status("delivered", "FOREIGN"),
    text("one"),
    text("two", "I2"),
    text("three", "I3", BO),
    b"{broken",
]


def final(workspace_id: uuid.UUID) -> dict[str, Any]:
    own = [each for each in rows(Message) if each.workspace_id == workspace_id]
    people = {each.contact_id: each.value for each in rows(Identity, Identity.kind == "phone")}
    shown = ("direction", "state", "text", "error", "sent_at", "delivered_at", "failed_at")
    return {
        "messages": {m.provider_id: (people[m.contact_id], *(getattr(m, name) for name in shown)) for m in own},
        "reports": sorted(
            (each.provider_id, each.status, each.recipient, each.message_id is None, str(each.detail.get("verdict")))
            for each in rows(StatusEvent, StatusEvent.workspace_id == workspace_id)
        ),
        "suppressed": [(e.address, e.reason) for e in rows(Suppression, Suppression.workspace_id == workspace_id)],
    }


def fresh() -> Demo:
    shop = add_channel(make_demo(number=str(random.SystemRandom().randrange(10**9, 10**10))))
    for provider_id in ("G1", "G2", "G3"):
        accepted(shop, provider_id, to=ANN)
    return shop


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(order=st.permutations(list(range(len(TOLD))) * 2), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_any_order_and_repetition_comes_to_the_same_end(empty: None, order: list[int], sizes: list[int]) -> None:
    wanted, found = fresh(), fresh()
    hear(wanted, *TOLD)
    ids = store(found, *(TOLD[n] for n in order))
    while ids:
        sizes = sizes[1:] + sizes[:1]
        receive_all(ids[: sizes[0]])
        ids = ids[sizes[0] :]
    assert final(found.workspace_id) == final(wanted.workspace_id)


def test_what_was_told_is_proved_to_be_here(shop: Demo) -> None:
    accepted(shop, "G1")
    hear(shop, status("sent"), text("Hi"), {"idempotencyKey": str(uuid.uuid4()), "status": "sent"})
    with db.transaction() as session:
        assert [list(each.check(session, timedelta(0))) for each in INVARIANTS] == [[], [], []]
    execute("DELETE FROM messages WHERE direction = 'in'")
    execute("DELETE FROM status_events WHERE event_id IS NOT NULL AND provider_id = 'G1'")
    with db.transaction() as session:
        broken = {each.name: list(each.check(session, timedelta(0))) for each in INVARIANTS}
    assert {name: len(found) for name, found in broken.items()} == {
        "events": 0,
        "inbound messages": 1,
        "inbound statuses": 1,
    }
