"""Every kind of inbound message is kept with its content, what a person reads of it, and the JSON as it came."""

from datetime import UTC, datetime
from typing import Any

import pytest

from crm_tasks.messages.models import Direction, InboundEvent, Message, MessageState
from tests import payloads
from tests.fixtures import Demo
from tests.messages.apply import conversations, hear, kept, one, people, rows, tell
from tests.payloads import NOON, message, told, wamid

MEDIA = {"id": "900100", "mime_type": "image/jpeg", "sha256": "SfInY0gGKTsJlUWbwxC1k+FAD0FZHvzwfpvO0zX0GUI="}
SHARED = [{"name": {"formatted_name": "Lucía Gómez"}, "phones": [{"phone": "+1 983 555 2319", "wa_id": "19835552319"}]}]
ORDER = {"catalog_id": "5", "text": "Soon?", "product_items": [{"product_retailer_id": "A", "quantity": "2"}]}
FLOW = {"name": "flow", "body": "Sent", "response_json": '{"broken": '}
# type: (what comes under its key, what a person reads)
KINDS: dict[str, tuple[Any, str | None]] = {
    "text": ({"body": "Hi Ann 👋\nsecond line"}, "Hi Ann 👋\nsecond line"),
    "image": ({**MEDIA, "caption": "Taj Mahal"}, "Taj Mahal"),
    "video": ({**MEDIA, "mime_type": "video/mp4"}, None),
    "audio": ({**MEDIA, "mime_type": "audio/ogg; codecs=opus", "voice": True}, None),
    "document": ({**MEDIA, "filename": "invoice.pdf"}, "invoice.pdf"),
    "sticker": ({**MEDIA, "mime_type": "image/webp", "animated": False}, None),
    "location": ({"latitude": 37.44, "longitude": -122.16, "name": "Depot", "address": "1 Test Rd"}, "Depot"),
    "contacts": (SHARED, "Lucía Gómez"),
    "button": ({"payload": "STOP_PROMO", "text": "Stop promotions"}, "Stop promotions"),
    "reaction": ({"message_id": "wamid.OTHER", "emoji": "👍"}, "👍"),
    "order": (ORDER, "Soon?"),
    "unsupported": ({"type": "poll_creation"}, None),
    "request_welcome": (None, None),
    "ephemeral_hologram": ({"beam": [1, 2]}, None),
}
INTERACTIVE = {
    "button_reply": ({"id": "ok", "title": "Yes"}, "Yes"),
    "list_reply": ({"id": "r1", "title": "Express", "description": "1 day"}, "Express"),
    "nfm_reply": (FLOW, "Sent"),
    "call_permission_reply": ({"response": "accept"}, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_of_each_type_is_kept_whole(demo: Demo, kind: str) -> None:
    given, words = KINDS[kind]
    item = message(type=kind, **({} if given is None else {kind: given}))
    (found,) = hear(demo, item)
    expected = given if isinstance(given, dict) else {} if given is None else {kind: given}
    assert (found.type, found.content, found.text, found.raw) == (kind, expected, words, item)
    assert (found.direction, found.state, found.author) == (Direction.IN, MessageState.RECEIVED, "customer")
    assert found.occurred_at == datetime.fromtimestamp(NOON, UTC)
    assert (found.workspace_id, found.channel_id) == (demo.workspace_id, demo.channel_id)


@pytest.mark.parametrize("kind", INTERACTIVE)
def test_an_interactive_reply_is_read_by_its_title(demo: Demo, kind: str) -> None:
    given, words = INTERACTIVE[kind]
    (found,) = hear(demo, message(type="interactive", interactive={"type": kind, kind: given}))
    assert (found.content, found.text) == ({"type": kind, kind: given}, words)


def test_a_message_without_type_is_unknown_and_kept(demo: Demo) -> None:
    item = message()
    del item["type"], item["text"]
    (found,) = hear(demo, item)
    assert (found.type, found.content, found.text, found.raw) == ("unknown", {}, None, item)


def test_an_interactive_message_may_have_errors_instead_of_content(demo: Demo) -> None:
    errors = [{"code": 131051, "title": "Message type unknown"}]
    (found,) = hear(demo, message(type="interactive", errors=errors))
    assert found.content == {"errors": errors}


def test_media_that_failed_keeps_both_the_object_and_the_errors(demo: Demo) -> None:
    errors = [{"code": 131052, "title": "Media download error"}]
    (found,) = hear(demo, message(type="image", image=MEDIA, errors=errors))
    assert found.content == {**MEDIA, "errors": errors}


def test_a_reply_says_to_what_and_a_forwarded_message_says_so(demo: Demo) -> None:
    reply = message(context={"from": "15550783881", "id": "wamid.QUOTED"})
    forwarded = message(context={"forwarded": True, "frequently_forwarded": True})
    asked = message(context={"referred_product": {"catalog_id": "5", "product_retailer_id": "SKU"}})
    found = hear(demo, reply, forwarded, asked)
    assert [each.context_provider_id for each in found] == ["wamid.QUOTED", None, None]
    assert [each.raw["context"] for each in found] == [reply["context"], forwarded["context"], asked["context"]]


def test_the_click_on_an_advertisement_is_kept_for_attribution(demo: Demo) -> None:
    referral = {"source_url": "https://fb.example.test/ad", "source_id": "7", "source_type": "ad", "ctwa_clid": "Aff-x"}
    (found,) = hear(demo, message(referral=referral))
    assert found.content == {"body": "Hello", "referral": referral}


def test_a_group_has_one_conversation_with_everybody_in_it(demo: Demo) -> None:
    first, second = hear(
        demo, message("15550001111", group_id="Y2FwaV9ncm91cDox"), message("15550002222", group_id="Y2FwaV9ncm91cDox")
    )
    (own,) = hear(demo, message("15550001111"))
    assert first.conversation_id == second.conversation_id != own.conversation_id
    assert first.contact_id == own.contact_id != second.contact_id
    groups = [(each.group_id, each.contact_id) for each in conversations()]
    assert groups == [("Y2FwaV9ncm91cDox", None), (None, own.contact_id)]


def test_two_messages_of_one_id_in_one_request_are_one(demo: Demo) -> None:
    twice = payloads.text("Once")
    (event,) = tell(demo, told(demo, messages=[twice, twice, payloads.text("Other")]))
    assert (event.state, [each.text for each in rows(Message)]) == ("done", ["Once", "Other"])


def test_a_message_without_id_is_put_aside_and_its_neighbours_are_not(demo: Demo) -> None:
    nameless = message()
    del nameless["id"]
    (event,) = tell(demo, told(demo, messages=[payloads.text("Before"), nameless, payloads.text("After")]))
    assert (event.state, event.problem) == ("quarantined", "a message without id")
    assert [each.text for each in rows(Message)] == ["Before", "After"]


def test_a_message_without_any_sender_is_put_aside_and_its_neighbours_are_not(demo: Demo) -> None:
    nobody = message(None, id="wamid.NOBODY")
    (event,) = tell(demo, told(demo, messages=[nobody, payloads.text("After")]))
    assert (event.state, event.problem) == ("quarantined", "message wamid.NOBODY: nobody named as its sender")
    assert [each.text for each in rows(Message)] == ["After"]


@pytest.mark.parametrize("entry", ["list", "object"])
@pytest.mark.parametrize("changes", ["list", "object"])
def test_a_lone_object_may_stand_where_a_list_should_be(demo: Demo, entry: str, changes: str) -> None:
    payload = told(demo, messages=[message(id="wamid.LONE")])
    if changes == "object":
        payload["entry"][0]["changes"] = payload["entry"][0]["changes"][0]
    if entry == "object":
        payload["entry"] = payload["entry"][0]
    (event,) = tell(demo, payload)
    assert event.state == "done"
    assert kept("wamid.LONE").text == "Hello"


def test_nul_and_lone_surrogates_are_replaced_and_the_rest_is_kept(demo: Demo) -> None:
    item = payloads.text("a\0b\ud800c👍", **{"odd\0key": "\udfff"})
    (found,) = hear(demo, item)
    assert found.text == "a�b?c👍"
    assert found.raw["odd�key"] == "?"
    assert rb"a\u0000b\ud800c" in one(InboundEvent).body


def test_a_very_long_text_is_kept_whole(demo: Demo) -> None:
    words = "ä" * 200_000
    (found,) = hear(demo, payloads.text(words))
    assert found.text == words == found.content["body"]


@pytest.mark.parametrize("at", ["", "soon", "-5", "0", "1e9", "99999999999", "1790000000000", None, [], {"x": 1}, True])
def test_a_message_with_an_odd_timestamp_has_the_time_at_which_it_came(demo: Demo, at: Any) -> None:
    item = message()
    item["timestamp"] = at
    (found,) = hear(demo, item)
    assert found.occurred_at == one(InboundEvent).received_at


def test_a_timestamp_may_be_a_number(demo: Demo) -> None:
    item = message()
    item["timestamp"] = NOON
    (found,) = hear(demo, item)
    assert found.occurred_at == datetime.fromtimestamp(NOON, UTC)


def test_the_window_counts_from_the_last_thing_said_and_never_goes_back(demo: Demo) -> None:
    hear(demo, message(at=NOON + 60), message(at=NOON))
    hear(demo, message(type="reaction", reaction={"message_id": "wamid.X", "emoji": "👍"}, at=NOON + 90))
    (conversation,) = conversations()
    assert conversation.last_inbound_at == datetime.fromtimestamp(NOON + 60, UTC)
    assert conversation.last_message_at == datetime.fromtimestamp(NOON + 90, UTC)


def test_an_echo_is_what_the_business_wrote_in_the_app_itself(demo: Demo) -> None:
    echo = message("15550783881", to="15550001111", id=wamid("ECHO"), type="text", text={"body": "From the app"})
    (event,) = tell(demo, payloads.envelope(payloads.change(demo, {"message_echoes": [echo]}, "smb_message_echoes")))
    assert event.state == "done"
    found = kept(echo["id"])
    assert (found.direction, found.state, found.author) == (Direction.OUT, MessageState.ACCEPTED, "app")
    assert people()[0]["names"] == ["+15550001111", "15550001111"]
    assert conversations()[0].last_inbound_at is None


@pytest.mark.parametrize("lacks", ["id", "to"])
def test_an_echo_without_id_or_recipient_is_put_aside(demo: Demo, lacks: str) -> None:
    echo = message("15550783881", to="15550001111")
    del echo[lacks]
    (event,) = tell(demo, payloads.envelope(payloads.change(demo, {"message_echoes": [echo]}, "smb_message_echoes")))
    assert (event.state, rows(Message)) == ("quarantined", [])
