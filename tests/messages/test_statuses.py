"""Statuses: early, late, twice, out of order, of groups, of messages that are not ours. They only ever rise."""

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.messages.models import Message, MessageState, StatusEvent
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import accepted, hear, kept, one, ours, people, reports, rows, tell
from tests.payloads import NOON, status, told

OUT = "wamid.OUT1="


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(NOON + seconds, UTC)


def report(demo: Demo, *statuses: payloads.Json, **more: Any) -> None:
    """Tell of statuses, each in a request of its own."""
    for each in statuses:
        (event,) = tell(demo, told(demo, statuses=[each], **more))
        assert (event.state, event.problem) == ("done", None)


STEPS = [status(OUT, "sent", at=NOON), status(OUT, "delivered", at=NOON + 1), status(OUT, "read", at=NOON + 2)]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("together", [True, False], ids=["in one request", "in three"])
def test_statuses_in_any_order_end_the_same(demo: Demo, order: tuple[int, ...], together: bool) -> None:
    accepted(demo, OUT)
    given = [STEPS[n] for n in order]
    if together:
        tell(demo, told(demo, statuses=given))
    else:
        report(demo, *given)
    message = kept(OUT)
    assert (message.state, message.error) == (MessageState.READ, None)
    assert (message.sent_at, message.delivered_at, message.read_at) == (moment(0), moment(1), moment(2))
    assert sorted(each.status for each in reports(OUT)) == ["accepted", "delivered", "read", "sent"]


def test_read_alone_is_enough(demo: Demo) -> None:
    """With the chat open, Meta sends no `delivered`."""
    accepted(demo, OUT)
    report(demo, STEPS[2])
    assert (kept(OUT).state, kept(OUT).delivered_at) == (MessageState.READ, None)


def test_a_voice_note_is_played_after_it_is_read(demo: Demo) -> None:
    accepted(demo, OUT)
    report(demo, status(OUT, "played", at=NOON + 9), STEPS[2])
    assert (kept(OUT).state, kept(OUT).played_at) == (MessageState.PLAYED, moment(9))


@pytest.mark.parametrize("how", ["again", "in one request", "before the message"])
def test_a_status_that_comes_twice_is_kept_once(demo: Demo, how: str) -> None:
    twice = [STEPS[1], STEPS[1]]
    if how != "before the message":
        accepted(demo, OUT)
    if how == "again":
        report(demo, *twice)
    else:
        tell(demo, told(demo, statuses=twice))
        tell(demo, told(demo, statuses=twice))
    if how == "before the message":
        accepted(demo, OUT)
    assert sorted(each.status for each in reports(OUT)) == ["accepted", "delivered"]
    assert kept(OUT).state == MessageState.DELIVERED


def test_a_status_before_its_message_waits_for_it(demo: Demo) -> None:
    report(demo, *STEPS)
    assert [each.message_id for each in reports(OUT)] == [None] * 3
    message = accepted(demo, OUT)
    assert (message.state, message.sent_at, message.read_at) == (MessageState.READ, moment(0), moment(2))
    assert {each.message_id for each in reports(OUT)} == {message.id}


def test_a_status_before_its_echo_waits_for_it(demo: Demo) -> None:
    report(demo, STEPS[1])
    echo = payloads.text("From the app", to="15550001111", id=OUT)
    tell(demo, payloads.envelope(payloads.change(demo, {"message_echoes": [echo]}, "smb_message_echoes")))
    assert kept(OUT).state == MessageState.DELIVERED


@pytest.mark.parametrize("order", [("failed", "delivered"), ("delivered", "failed")])
def test_a_failure_after_a_delivery_is_of_another_device(demo: Demo, order: tuple[str, str]) -> None:
    accepted(demo, OUT)
    errors = [{"code": 131026, "title": "Message undeliverable"}]
    given = {"failed": status(OUT, "failed", at=NOON, errors=errors), "delivered": STEPS[1]}
    report(demo, *(given[name] for name in order))
    message = kept(OUT)
    assert (message.state, message.error, message.failed_at) == (MessageState.DELIVERED, None, moment(0))
    assert [each.detail["errors"] for each in reports(OUT) if each.status == "failed"] == [errors]


@pytest.mark.parametrize(
    ("errors", "known"),
    [
        (
            [{"code": 131047, "title": "Re-engagement message", "error_data": {"details": "More than 24 h"}}],
            {"code": 131047, "title": "Re-engagement message", "details": "More than 24 h"},
        ),
        ([{"code": 1, "message": "Flat", "details": "d"}, {"code": 2}], {"code": 1, "title": "Flat", "details": "d"}),
        ([], None),
        (["odd"], None),
        ("odd", None),
    ],
)
def test_a_failure_says_why_in_one_shape(demo: Demo, errors: Any, known: dict | None) -> None:
    accepted(demo, OUT)
    report(demo, status(OUT, "failed", errors=errors))
    assert (kept(OUT).state, kept(OUT).error) == (MessageState.FAILED, known)


@pytest.mark.parametrize("name", ["deleted", "warped", "received", "queued", "accepted", "SENT"])
def test_an_unknown_status_is_kept_and_changes_nothing(demo: Demo, name: str) -> None:
    before = accepted(demo, OUT)
    report(demo, status(OUT, name, errors=[{"code": 1}]), status(OUT, name, errors=[{"code": 1}]))
    after = kept(OUT)
    assert (after.state, after.error, after.sent_at) == (before.state, None, None)
    assert [each.status for each in reports(OUT)].count(name) == (2 if name == "accepted" else 1)


def test_what_a_status_costs_is_kept(demo: Demo) -> None:
    accepted(demo, OUT)
    pricing = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
    report(demo, status(OUT, "sent", pricing=pricing, conversation={"id": "c"}))
    assert reports(OUT)[-1].detail == {"pricing": pricing, "conversation": {"id": "c"}}


def test_each_member_of_a_group_has_statuses_of_its_own(demo: Demo) -> None:
    accepted(demo, OUT)
    group = {"to": "Y2FwaV9ncm91cDox", "recipient_type": "group"}
    given = [
        status(OUT, "delivered", at=NOON + 2, recipient_participant_id="15550001111", **group),
        status(OUT, "delivered", at=NOON + 1, participant_recipient_id="15550002222", **group),
        status(OUT, "read", at=NOON + 3, recipient_participant_id="15550001111", **group),
        status(OUT, "read", at=NOON + 4, recipient_participant_user_id="US.77", **group),
    ]
    tell(demo, told(demo, statuses=given), told(demo, statuses=given[::-1]))
    found = sorted((each.recipient, each.status) for each in reports(OUT) if each.status != "accepted")
    assert found == [
        ("15550001111", "delivered"),
        ("15550001111", "read"),
        ("15550002222", "delivered"),
        ("US.77", "read"),
    ]
    assert (kept(OUT).state, kept(OUT).delivered_at, kept(OUT).read_at) == (MessageState.READ, moment(1), moment(3))


def test_a_status_by_user_id_alone_is_applied(demo: Demo) -> None:
    accepted(demo, OUT)
    report(
        demo,
        status(OUT, "delivered", to=None, recipient_user_id="US.1"),
        status(OUT, "delivered", to=None, recipient_user_id="US.1", recipient_parent_user_id="US.ENT.2"),
        contacts=[payloads.contact(user_id="US.1")],
    )
    assert kept(OUT).state == MessageState.DELIVERED
    assert [each.recipient for each in reports(OUT)] == ["", "US.1"]


@pytest.mark.parametrize("lacks", ["id", "status"])
def test_a_status_without_id_or_status_is_put_aside_and_its_neighbours_are_not(demo: Demo, lacks: str) -> None:
    accepted(demo, OUT)
    bad = status("wamid.X", "sent")
    del bad[lacks]
    (event,) = tell(demo, told(demo, statuses=[bad, STEPS[0]]))
    assert (event.state, event.problem) == ("quarantined", "a status without id or status")
    assert kept(OUT).state == MessageState.SENT


def test_a_thousand_statuses_in_one_request_are_applied(demo: Demo) -> None:
    made = [accepted(demo, f"wamid.N{n}", to=f"+1555{n:07d}") for n in range(250)]
    names = ("read", "sent", "delivered", "delivered")
    given = [status(m.provider_id or "", name, at=NOON + n) for n, name in enumerate(names) for m in made]
    (event,) = tell(demo, told(demo, statuses=given))
    assert event.state == "done"
    assert {each.state for each in rows(Message)} == {MessageState.READ}
    assert len(rows(StatusEvent)) == 4 * 250


# --- whose message -----------------------------------------------------------------------------------------------


def test_our_own_id_in_a_status_settles_a_message_whose_fate_was_unknown(demo: Demo) -> None:
    message = ours(demo, MessageState.UNKNOWN)
    report(demo, status(OUT, "sent", biz_opaque_callback_data=str(message.id)))
    assert (kept(OUT).id, kept(OUT).state) == (message.id, MessageState.SENT)
    report(demo, STEPS[2])
    assert kept(OUT).state == MessageState.READ


@pytest.mark.parametrize("other", ["without anything of ours", "with somebody's own words", "with an unknown id"])
def test_a_status_of_a_foreign_message_is_no_status_of_ours(demo: Demo, other: str) -> None:
    """Both come in one request, and the message of ours has no provider's id yet."""
    message = ours(demo, MessageState.UNKNOWN)
    data = {"with somebody's own words": "order 7", "with an unknown id": "01a20000-0000-7000-8000-000000000000"}
    foreign = status("wamid.FOREIGN", "read", at=NOON + 9)
    foreign |= {"biz_opaque_callback_data": data[other]} if other in data else {}
    mine = status(OUT, "sent", biz_opaque_callback_data=str(message.id))
    tell(demo, told(demo, statuses=[mine, foreign]))
    found = one(Message, Message.id == message.id)
    assert (found.provider_id, found.state, found.read_at) == (OUT, MessageState.SENT, None)
    assert [each.message_id for each in reports("wamid.FOREIGN")] == [None]


def test_a_status_of_another_channel_with_the_same_id_is_another_message(demo: Demo) -> None:
    other = make_demo(number="20002", name="Other")
    accepted(demo, OUT)
    report(other, STEPS[2])
    assert kept(OUT).state == MessageState.ACCEPTED
    message = ours(demo, MessageState.UNKNOWN)
    report(other, status("wamid.Z", "read", biz_opaque_callback_data=str(message.id)))
    assert one(Message, Message.id == message.id).state == MessageState.UNKNOWN


def test_a_message_of_a_customer_never_becomes_one_that_was_sent(demo: Demo) -> None:
    (message,) = hear(demo, payloads.message(id=OUT))
    report(demo, STEPS[1], status("wamid.Q", "read", biz_opaque_callback_data=str(message.id)))
    assert (kept(OUT).state, kept(OUT).provider_id) == (MessageState.RECEIVED, OUT)


def test_a_status_makes_no_contact(demo: Demo) -> None:
    report(demo, STEPS[0])
    assert people() == []


def test_an_error_of_the_account_is_kept_for_a_person(demo: Demo) -> None:
    errors = [{"code": 131031, "title": "Account locked"}]
    tell(demo, payloads.envelope(payloads.change(demo, {"errors": errors}), waba_id=demo.waba_id))
    with db.transaction() as session:
        found = session.execute(sa.text("SELECT field, value FROM account_updates")).all()
    assert [tuple(row) for row in found] == [("errors", {"errors": errors})]
