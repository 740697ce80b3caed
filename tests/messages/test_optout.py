"""Customers who opt out of marketing, by word, button or switch, and in again: in any order, with what proves it."""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_tasks.contacts.keywords import START, STOP, Wish, wish
from crm_tasks.contacts.models import ConsentEvent, Identity, Suppression
from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Direction, Message, MessageState
from crm_tasks.messages.service import gates, outbox
from crm_tasks.messages.service.look import look
from crm_tasks.workspaces.models import Policy
from tests import payloads
from tests.fixtures import Demo, make_demo
from tests.messages.apply import accepted, hear, kept, one, receive_all, rows, store, tell
from tests.messages.replies import switch
from tests.payloads import NOON, change, contact, message, status, text

ANN = "15550001111"


def suppressed(demo: Demo) -> dict[str, str]:
    """Return what is suppressed and why."""
    found = rows(Suppression, Suppression.workspace_id == demo.workspace_id, Suppression.active)
    assert all((each.medium, each.scope) == ("whatsapp", "marketing") for each in found)
    return {each.address: each.reason for each in found}


def preference(demo: Demo, value: str, at: int = NOON, **more: Any) -> payloads.Json:
    item = {"wa_id": ANN, "category": "marketing_messages", "value": value, "detail": "…", "timestamp": at, **more}
    told = {"contacts": [contact(ANN, "US.1")], "user_preferences": [item]}
    return payloads.envelope(change(demo, told, "user_preferences"), waba_id=demo.waba_id)


def rule(demo: Demo, **value: Any) -> None:
    with db.transaction() as session:
        session.add(Policy(workspace_id=demo.workspace_id, name="keywords", value=value, set_by="test"))


# --- words -------------------------------------------------------------------------------------------------------


STOPS = ["STOP", "stop", "  Stop. ", "¡Parar!", "ARRÊT", "arret", "Désabonner", "रोकें", "إيقاف", "ايقاف", "DURDUR"]
STOPS += ["Berhenti", "stopp", "“Stop”", "unsubscribe", "STOP_PROMO", "Stop promotions", "стоп", "退订"]
OTHERS = ["", " ", "!", "Please stop calling", "stop it", "bus stop", "Cancelar", "cancel", "end", "quit", "no", "yes"]
OTHERS += ["stopwatch", "stop" * 500, "S T O P"]


@pytest.mark.parametrize("said", STOPS)
def test_a_message_that_is_a_stop_word_and_nothing_else_stops(said: str) -> None:
    assert wish(said) is Wish.STOP


@pytest.mark.parametrize("said", ["START", "Ábonner", "unstop", "başla", "s'abonner", "ابدأ", "शुरू करें"])
def test_a_start_word_starts(said: str) -> None:
    assert wish(said) is Wish.START


@pytest.mark.parametrize("said", OTHERS, ids=lambda value: value[:20])
def test_other_messages_are_no_such_words(said: str) -> None:
    assert wish(said) is None


def test_every_default_word_is_one_and_no_word_is_both() -> None:
    for table, wanted in ((STOP, Wish.STOP), (START, Wish.START)):
        assert {"en", "es", "pt", "fr", "de", "it", "nl", "hi", "id", "tr", "ar"} <= set(table)
        for word in itertools.chain.from_iterable(table.values()):
            assert wish(word.upper()) is wanted, word


# --- what is heard -----------------------------------------------------------------------------------------------


def test_a_stop_word_is_kept_with_the_message_that_proves_it(demo: Demo) -> None:
    (said,) = hear(demo, text("Stop!"))
    assert suppressed(demo) == {f"+{ANN}": "keyword"}
    found = one(Suppression)
    assert found.evidence == {"message_id": str(said.id), "provider_id": said.provider_id, "word": "Stop!"}
    assert (found.changed_at, found.actor) == (said.occurred_at, "customer")


BUTTONS = [
    message(type="button", button={"payload": "STOP_PROMO", "text": "No, thank you"}),
    message(type="button", button={"payload": "x", "text": "Stop promotions"}),
    message(type="interactive", interactive={"type": "button_reply", "button_reply": {"id": "stop", "title": "No"}}),
]


@pytest.mark.parametrize("said", BUTTONS, ids=lambda value: value["type"])
def test_a_button_that_means_stop_stops(demo: Demo, said: payloads.Json) -> None:
    hear(demo, said)
    assert list(suppressed(demo)) == [f"+{ANN}"]


ODD = [
    message(type="button", button={"payload": None, "text": ["stop"]}),
    message(type="interactive", interactive={"type": "button_reply", "button_reply": "stop"}),
    message(type="image", image={"id": "1", "caption": "stop"}),
    message(type="reaction", reaction={"message_id": "x", "emoji": "stop"}),
    text("stop", group_id="G1"),
    text("Please stop the delivery of my order"),
]


@pytest.mark.parametrize("said", ODD, ids=lambda value: value["type"])
def test_what_is_not_said_to_us_in_a_word_stops_nothing(demo: Demo, said: payloads.Json) -> None:
    hear(demo, said)
    assert suppressed(demo) == {}


def test_what_we_write_ourselves_in_the_app_stops_nothing(demo: Demo) -> None:
    echo = text("stop", "15550783881") | {"to": ANN}
    tell(demo, payloads.envelope(change(demo, {"message_echoes": [echo]}, "smb_message_echoes")))
    assert suppressed(demo) == {}


def test_a_stop_word_is_not_answered_and_other_words_are(demo: Demo) -> None:
    switch(demo, on=True)
    hear(demo, text("STOP"))
    assert rows(Job, Job.task == "ai.reply") == []
    hear(demo, text("START", at=NOON + 1), text("Hello", at=NOON + 2))
    assert len(rows(Job, Job.task == "ai.reply")) == 2
    assert rows(Message, Message.direction == Direction.OUT) == []


def test_a_workspace_can_have_words_of_its_own_and_a_confirmation(demo: Demo) -> None:
    rule(demo, stop=["Genug"], start=["Doch"], confirmation="You will get no more offers.")
    hear(demo, text("stop"))
    assert suppressed(demo) == {}
    hear(demo, text("GENUG", at=NOON + 1), text("genug!", at=NOON + 2))
    assert list(suppressed(demo)) == [f"+{ANN}"]
    (confirmed,) = rows(Message, Message.direction == Direction.OUT)
    assert (confirmed.text, confirmed.author) == ("You will get no more offers.", "system")
    hear(demo, text("doch", at=NOON + 3))
    assert suppressed(demo) == {}


def test_who_has_stopped_gets_no_marketing_but_what_was_ordered(demo: Demo) -> None:
    hear(demo, text("STOP"))
    with db.transaction() as session:
        for category, rules in (("marketing", ["suppressed"]), ("utility", [])):
            new = outbox.NewMessage(
                type="template",
                content={"name": "a", "language": {"code": "en"}},
                category=category,  # type: ignore[arg-type]
            )
            made = outbox.send_to(session, demo.workspace_id, demo.channel_id, f"+{ANN}", new)
            session.flush()
            seen = look(session, made.id)
            assert seen is not None
            assert [found.rule for found in gates.findings(session, seen)] == rules


# --- switched in WhatsApp ----------------------------------------------------------------------------------------


def test_a_switch_in_whatsapp_is_kept_with_the_whole_webhook(demo: Demo) -> None:
    body = preference(demo, "stop")
    (event,) = tell(demo, body)
    assert suppressed(demo) == {f"+{ANN}": "user_preferences", "US.1": "user_preferences"}
    item = body["entry"][0]["changes"][0]["value"]["user_preferences"][0]
    assert rows(Suppression)[0].evidence == {"event_id": str(event.id), "webhook": item}
    tell(demo, body)
    assert len(rows(ConsentEvent)) == 2  # one per address, and none for the repetition


@pytest.mark.parametrize("value", ["resume", "signup"])
def test_only_the_customer_takes_it_back(demo: Demo, value: str) -> None:
    tell(demo, preference(demo, "stop"), preference(demo, value, NOON + 1))
    assert suppressed(demo) == {}


@pytest.mark.parametrize(
    "more", [{"value": "later"}, {"category": "news"}, {"value": None}, {"value": ["stop"]}], ids=str
)
def test_a_preference_that_we_do_not_know_is_kept_and_changes_nothing(demo: Demo, more: dict[str, Any]) -> None:
    (event,) = tell(demo, preference(demo, **({"value": "stop"} | more)))
    assert (event.problem, suppressed(demo)) == (None, {})


def test_a_preference_of_nobody_is_put_aside(demo: Demo) -> None:
    (event,) = tell(demo, preference(demo, "stop", wa_id=None))
    assert event.problem == "a preference without a person"


# --- what a failure says of a person -----------------------------------------------------------------------------


def failed(code: int, at: int) -> payloads.Json:
    return status("wamid.OURS", "failed", at=at, errors=[{"code": code, "title": "x"}])


def test_marketing_that_the_provider_refused_for_the_person_is_an_opt_out(demo: Demo) -> None:
    ours = accepted(demo, "wamid.OURS")
    tell(demo, payloads.told(demo, statuses=[failed(131050, NOON)]))
    tell(demo, payloads.told(demo, statuses=[failed(131050, NOON)]))
    assert suppressed(demo) == {f"+{ANN}": "refused_by_provider"}
    assert one(ConsentEvent).evidence["message_id"] == str(ours.id)


def marks() -> set[tuple[str, str | None]]:
    return {(each.kind, each.unreachable_reason) for each in rows(Identity) if each.unreachable_at is not None}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_who_cannot_be_reached_is_marked_until_writing_again_in_any_order(empty: None, order: tuple[int, ...]) -> None:
    demo = make_demo()
    accepted(demo, "wamid.OURS")
    before, after = text("early", at=NOON - 5), text("late", at=NOON + 5)
    happened = [
        payloads.told(demo, statuses=[failed(131026, NOON)]),
        payloads.told(demo, messages=[before]),
        payloads.told(demo, messages=[after]),
    ]
    for n in order:
        tell(demo, happened[n])
        if n == 2:
            assert marks() == set()
    assert marks() == set()


def test_a_mark_says_why_and_is_of_whatsapp_alone(demo: Demo) -> None:
    accepted(demo, "wamid.OURS")
    hear(demo, text("early", at=NOON - 5))
    tell(demo, payloads.told(demo, statuses=[failed(131026, NOON)]))
    reason = "whatsapp 131026: undeliverable: not on WhatsApp, or unable to receive"
    assert marks() == {("wa_id", reason)}
    assert kept("wamid.OURS").state is MessageState.FAILED


def test_a_failure_that_came_before_our_record_of_the_sending_marks_all_the_same(demo: Demo) -> None:
    tell(demo, payloads.told(demo, statuses=[failed(131026, NOON)]))
    assert marks() == set()
    accepted(demo, "wamid.OURS")
    assert len(marks()) == 1


# --- any order ---------------------------------------------------------------------------------------------------

SAID = [("stop", 1), ("start", 2), ("resume", 3), ("STOP", 4), ("Unstop", 5), ("pref stop", 6), ("pref resume", 6)]
_numbers = itertools.count(810_001)


def final(order: list[int]) -> tuple[dict[str, str], int]:
    demo = make_demo(number=str(next(_numbers)))
    for n in order:
        word, at = SAID[n]
        if word.startswith("pref"):
            body = preference(demo, word.removeprefix("pref "), NOON + at)
        else:
            body = payloads.told(
                demo, messages=[text(word, at=NOON + at, id=f"wamid.{n}")], contacts=[contact(ANN, "US.1")]
            )
        receive_all(store(demo, body))
    return suppressed(demo), len(rows(ConsentEvent, ConsentEvent.workspace_id == demo.workspace_id))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(order=st.lists(st.sampled_from(range(len(SAID))), min_size=1, max_size=12))
def test_the_newest_word_counts_in_any_order_and_repetition(empty: None, order: list[int]) -> None:
    found, events = final(order)
    wanted, once = final(sorted(set(order)))
    assert (found.keys(), events) == (wanted.keys(), once)
