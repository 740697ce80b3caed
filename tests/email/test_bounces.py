"""What comes back: statuses, and when it is enough to write to an address no more."""

import uuid
from collections.abc import Callable

import orjson
import pytest

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import Identity, Suppression, SuppressionScope
from crm_tasks.core import db
from crm_tasks.email.models import EmailBounce
from crm_tasks.messages.models import EventState, InboundEvent, MessageState, StatusEvent
from tests.email.shop import ANN, Shop, make_shop, sent, tell
from tests.messages.apply import one, rows
from tests.messages.outgoing import message
from tests.providers.returned import bounce, complaint


@pytest.fixture
def shop(empty: None) -> Shop:
    return make_shop()


def bounced(message_id: uuid.UUID, **how: str) -> bytes:
    return bounce(to=f"bounces+{message_id.hex}@example.com", headers="Subject: x\r\n", **how)


def complained(message_id: uuid.UUID) -> bytes:
    return complaint(headers=f"X-CRM-Message: {message_id}\r\n")


def event(event_id: uuid.UUID) -> InboundEvent:
    return one(InboundEvent, InboundEvent.id == event_id)


def reasons() -> list[str]:
    return [each.reason for each in rows(Suppression) if each.active]


def test_a_bounce_fails_its_message_and_ends_its_address(shop: Shop) -> None:
    ours = sent(shop)
    found = event(tell(shop, bounced(ours)))
    assert (found.state, found.problem, found.workspace_id) == (EventState.DONE, None, shop.workspace_id)
    failed = message(ours)
    assert failed.state is MessageState.FAILED
    assert failed.error == {"code": "5.1.1", "title": "5.1.1 there is no such mailbox", "details": None}
    (entry,) = rows(Suppression)
    assert (entry.reason, entry.scope, entry.medium, entry.address) == (
        "hard_bounce",
        SuppressionScope.ALL,
        "email",
        ANN,
    )
    assert entry.evidence["event_id"] == str(found.id)
    assert one(Identity, Identity.value == ANN).unreachable_at is not None


def test_the_same_bounce_twice_is_one(shop: Shop) -> None:
    ours = sent(shop)
    for _ in range(2):
        tell(shop, bounced(ours))
    assert (len(rows(EmailBounce)), len(rows(Suppression))) == (1, 1)
    assert len(rows(StatusEvent, StatusEvent.status == "failed")) == 1


def test_a_full_mailbox_ends_its_address_with_the_fifth_message_in_a_week(shop: Shop) -> None:
    for n in range(4):
        ours = sent(shop)
        for _ in range(3):  # the same one again says nothing new
            tell(shop, bounced(ours, status="5.2.2"))
        assert reasons() == [], n
    tell(shop, bounced(sent(shop), status="5.2.2"))
    assert reasons() == ["mailbox_full"]


def test_five_full_mailboxes_in_more_than_a_week_end_nothing(shop: Shop, clock: Callable[[str], None]) -> None:
    for day in range(0, 10, 2):
        clock(f"now() + interval '{day} days'")
        tell(shop, bounced(sent(shop), status="5.2.2"))
    assert (len(rows(EmailBounce)), reasons()) == (5, [])


def test_a_disabled_mailbox_ends_its_address_with_the_second_message(shop: Shop) -> None:
    tell(shop, bounced(sent(shop), status="5.2.1"))
    assert reasons() == []
    tell(shop, bounced(sent(shop), status="5.2.1"))
    assert reasons() == ["mailbox_disabled"]


@pytest.mark.parametrize("status", ["5.7.1", "5.3.4", "4.4.7"])
def test_what_is_not_about_the_address_ends_only_the_message(shop: Shop, status: str) -> None:
    ours = sent(shop)
    tell(shop, bounced(ours, status=status))
    assert (message(ours).state, reasons()) == (MessageState.FAILED, [])


def test_a_complaint_ends_the_address_and_leaves_the_message_delivered(shop: Shop) -> None:
    ours = sent(shop)
    tell(shop, complained(ours))
    assert message(ours).state is MessageState.DELIVERED
    assert reasons() == ["complaint"]
    assert one(Identity, Identity.value == ANN).unreachable_at is None


def test_a_person_who_asks_again_is_written_to_again(shop: Shop) -> None:
    tell(shop, complained(sent(shop)))
    with db.transaction() as session:
        suppression.allow(
            session,
            shop.workspace_id,
            ANN,
            medium="email",
            scope=SuppressionScope.ALL,
            reason="api",
            actor="x",
            evidence={},
        )
    assert reasons() == []


def test_a_bounce_from_where_it_was_passed_on_is_held_against_the_address_that_was_written_to(shop: Shop) -> None:
    tell(shop, bounced(sent(shop), recipient="ann@elsewhere.example"))
    assert [each.address for each in rows(Suppression)] == [ANN]


def test_an_answer_of_a_machine_is_no_bounce(shop: Shop) -> None:
    ours = sent(shop)
    body = f"To: bounces+{ours.hex}@example.com\r\nAuto-Submitted: auto-replied\r\n\r\nI am away".encode()
    assert event(tell(shop, body)).state is EventState.DONE
    assert (message(ours).state, reasons()) == (MessageState.ACCEPTED, [])


def test_a_bounce_settles_what_nobody_knew(shop: Shop) -> None:
    ours = sent(shop)
    with db.transaction() as session:
        found = session.merge(message(ours))
        found.state, found.provider_id, found.accepted_at = MessageState.UNKNOWN, None, None
    tell(shop, bounced(ours))
    assert message(ours).state is MessageState.FAILED


def test_a_bounce_of_another_business_touches_nothing_here(shop: Shop) -> None:
    other = make_shop(name="Other")
    ours = sent(shop)
    found = event(tell(other, bounced(ours)))
    assert (found.state, found.problem) == (EventState.QUARANTINED, "it names no message of this channel")
    assert (message(ours).state, rows(Suppression), rows(EmailBounce)) == (MessageState.ACCEPTED, [], [])


@pytest.mark.parametrize("body", [b"{", b"[7]", b'{"status": "delivered"}', b'{"messageId": "\\u0000", "status": {}}'])
def test_what_cannot_be_understood_is_put_aside(shop: Shop, body: bytes) -> None:
    found = event(tell(shop, body))
    assert found.state is EventState.QUARANTINED and found.problem


def test_a_gateway_tells_how_far_its_message_is(shop: Shop) -> None:
    ours = sent(shop, provider_id="EM1")
    tell(shop, orjson.dumps({"messageId": "EM1", "status": "delivered", "to": ANN}))
    assert message(ours).state is MessageState.DELIVERED
    tell(shop, orjson.dumps({"messageId": "EM1", "status": "opened"}))
    assert message(ours).state is MessageState.READ
    tell(shop, orjson.dumps({"messageId": "EM1", "status": "complained", "to": "\u0000"}))
    assert (message(ours).state, reasons()) == (MessageState.READ, ["complaint"])


def test_what_a_gateway_tells_before_we_know_its_id_waits_for_the_message(shop: Shop) -> None:
    tell(shop, orjson.dumps({"messageId": "EM9", "status": "delivered"}))
    assert message(sent(shop, provider_id="EM9")).state is MessageState.DELIVERED
