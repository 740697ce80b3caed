"""Customers speaking: any message in Meta's shape, one or many, waiting for the web app or not."""

import time
from typing import Any

import pytest
from playground import CUSTOMER, Receiver, Sandbox, wait_for

SAID = {
    "location": {"latitude": 37.4, "longitude": -122.1, "name": "Depot"},
    "contacts": [{"name": {"formatted_name": "Ann Bo", "first_name": "Ann"}, "phones": [{"phone": "+1555"}]}],
    "button": {"payload": "STOP_PROMO", "text": "Stop"},
    "interactive": {"type": "button_reply", "button_reply": {"id": "ok", "title": "Yes"}},
    "reaction": {"message_id": "wamid.X=", "emoji": "👍"},
    "order": {"catalog_id": "1", "text": "", "product_items": [{"product_retailer_id": "S", "quantity": 1}]},
    "edit": {"original_message_id": "wamid.X=", "message": {"type": "text", "text": {"body": "new"}}},
    "revoke": {"original_message_id": "wamid.X="},
    "something_new": {"anything": [1, 2]},
}


@pytest.mark.parametrize("kind", SAID)
def test_any_kind_arrives_as_it_was_given(sandbox: Sandbox, receiver: Receiver, kind: str) -> None:
    message_id = sandbox.inbound(type=kind, text=None, **{kind: SAID[kind]})
    message = receiver.messages()[0]
    assert message["id"] == message_id
    assert message["type"] == kind
    assert message[kind] == SAID[kind]
    assert message["from"] == "15550001111"
    assert isinstance(message["timestamp"], str)


def test_unsupported_messages_and_referrals_arrive_too(sandbox: Sandbox, receiver: Receiver) -> None:
    error = {"code": 131051, "title": "Message type unknown"}
    sandbox.inbound(type="unsupported", text=None, errors=[error])
    sandbox.inbound("From an ad", referral={"source_id": "1", "ctwa_clid": "Aff"})
    first, second = receiver.messages()
    assert first["errors"] == [error]
    assert second["referral"]["ctwa_clid"] == "Aff"


def test_id_timestamp_name_and_context_can_be_given(sandbox: Sandbox, receiver: Receiver) -> None:
    mine = sandbox.send()
    given = {"id": "wamid.MINE=", "timestamp": 1790000000, "name": "Ann", "context": {"id": mine}}
    assert sandbox.inbound("Hi", **given) == "wamid.MINE="
    value = next(value for value in receiver.changes() if "messages" in value)
    assert value["contacts"][0]["profile"]["name"] == "Ann"
    assert value["messages"][0]["timestamp"] == "1790000000"
    assert value["messages"][0]["context"] == {"from": "15550783881", "id": mine}


def test_many_can_be_said_at_once(sandbox: Sandbox, receiver: Receiver) -> None:
    many = [{"from": f"+1555400{n}", "type": "text", "text": {"body": str(n)}} for n in range(1000, 1100)]
    answer = sandbox.control("POST", "inbound?wait=1", many)["data"]
    assert all(item["delivered"] for item in answer)
    assert {message["id"] for message in receiver.messages()} == {item["id"] for item in answer}
    assert sandbox.stats()["inbound"] == 100


def test_waiting_has_a_bound(sandbox: Sandbox, receiver: Receiver) -> None:
    receiver.status = 503
    message = {"from": CUSTOMER, "type": "text", "text": {"body": "x"}}
    started = time.monotonic()
    answer = sandbox.control("POST", "inbound?wait=0.3", message, status=504)
    assert time.monotonic() - started < 3
    assert answer["id"].startswith("wamid.")
    receiver.status = 200
    sandbox.control("POST", "webhooks/retry")
    sandbox.quiet()
    assert receiver.messages()[0]["id"] == answer["id"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        [],
        "x",
        {"from": CUSTOMER},
        {"type": "text", "text": {"body": "x"}},
        {"from": "x", "type": "text", "text": {"body": "x"}},
        {"user_id": "nobody", "type": "text", "text": {"body": "x"}},
        {"from": CUSTOMER, "type": "text"},
        {"from": CUSTOMER, "type": "text", "text": {"body": 7}},
        {"from": CUSTOMER, "type": "image", "image": {"data_base64": "%%%"}},
        {"from": CUSTOMER, "type": "text", "text": {"body": "x"}, "timestamp": "yesterday"},
        {"from": CUSTOMER, "type": 7},
        [{"from": CUSTOMER}],
    ],
)
def test_what_cannot_be_said_is_a_clear_400(sandbox: Sandbox, bad: Any) -> None:
    if bad == []:
        assert sandbox.control("POST", "inbound", bad) == {"data": []}
        return
    error = sandbox.control("POST", "inbound", bad, status=400)["error"]
    assert error["message"]


def test_an_unknown_number_or_customer_is_404(sandbox: Sandbox) -> None:
    text = {"type": "text", "text": {"body": "x"}}
    sandbox.control("POST", "inbound", {"phone_number_id": "7", "from": CUSTOMER, **text}, status=404)
    sandbox.control("POST", "inbound", {"customer": "7", **text}, status=404)


def test_reading_marks_every_earlier_message_and_typing_shows(sandbox: Sandbox) -> None:
    first, second = sandbox.inbound("one"), sandbox.inbound("two")
    sandbox.inbound("three")
    receipt = {"messaging_product": "whatsapp", "status": "read", "message_id": second}
    assert sandbox.post(receipt).json() == {"success": True}
    assert [message["state"] for message in shown(sandbox)["messages"]] == ["read", "read", "delivered"]
    typing = {**receipt, "message_id": first, "typing_indicator": {"type": "text"}}
    assert sandbox.post(typing).json() == {"success": True}
    assert shown(sandbox)["customer"]["typing"] is True
    sandbox.send()
    assert shown(sandbox)["customer"]["typing"] is False
    assert [entry["kind"] for entry in sandbox.log()] == ["read", "typing", "message"]
    assert sandbox.log("read")[0]["to"] == "15550001111"


@pytest.mark.parametrize(
    "change", [{"status": "seen"}, {"message_id": None}, {"message_id": "x"}, {"typing_indicator": {}}]
)
def test_a_bad_receipt_is_refused(sandbox: Sandbox, change: dict) -> None:
    receipt = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X="} | change
    assert sandbox.post(receipt).json()["error"]["code"] in (131008, 131009)


def shown(sandbox: Sandbox, key: str = "15550001111") -> Any:
    return wait_for(lambda: sandbox.control("GET", f"chat/state?open={key}").get("chat"), "the chat")
