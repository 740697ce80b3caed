"""Webhooks back: statuses, signatures, batches, retries."""

import hashlib
import hmac
import time

from playground import CUSTOMER, NUMBER, SECRET, WABA, Receiver, Sandbox, free_port, wait_for


def test_a_message_becomes_sent_delivered_and_read(sandbox: Sandbox, receiver: Receiver) -> None:
    before = int(time.time())
    message_id = sandbox.send(biz_opaque_callback_data="out_01")
    wait_for(lambda: len(receiver.names(message_id)) == 3, "three statuses")
    assert receiver.names(message_id) == ["sent", "delivered", "read"]
    sent, delivered, read = receiver.status_updates(message_id)
    for status in (sent, delivered, read):
        assert status["recipient_id"] == "15550001111"
        assert status["biz_opaque_callback_data"] == "out_01"
        assert before <= int(status["timestamp"]) <= before + 10
    free = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}
    assert sent["pricing"] == delivered["pricing"] == free
    assert "pricing" not in read


def test_the_envelope_is_metas(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.send()
    body = wait_for(receiver.bodies, "a webhook")[0]
    assert body["object"] == "whatsapp_business_account"
    assert body["entry"][0]["id"] == WABA
    value = body["entry"][0]["changes"][0]["value"]
    assert value["messaging_product"] == "whatsapp"
    assert value["metadata"] == {"display_phone_number": "15550783881", "phone_number_id": NUMBER}
    assert value["contacts"][0]["wa_id"] == "15550001111"
    assert value["contacts"][0]["profile"]["name"]


def test_a_template_is_priced_by_its_category(sandbox: Sandbox, receiver: Receiver) -> None:
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    outside = sandbox.send(type="template", template=template)
    wait_for(lambda: receiver.status_updates(outside), "a status")
    assert receiver.status_updates(outside)[0]["pricing"] == {
        "billable": True,
        "pricing_model": "PMP",
        "type": "regular",
        "category": "utility",
    }
    sandbox.inbound()
    inside = sandbox.send(type="template", template=template)
    wait_for(lambda: receiver.status_updates(inside), "a status")
    assert receiver.status_updates(inside)[0]["pricing"]["type"] == "free_customer_service"


def test_the_signature_is_over_the_exact_bytes_and_these_are_ascii(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.inbound("café 👍 日本", name="Zoë")
    headers, body, _ = receiver.requests[0]
    assert body.isascii()
    assert rb"caf\u00e9 \ud83d\udc4d \u65e5\u672c" in body
    assert rb"Zo\u00eb" in body
    expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == expected
    assert receiver.messages()[0]["text"]["body"] == "café 👍 日本"


def test_a_customer_with_a_hidden_number_is_known_by_user_id_only(sandbox: Sandbox, receiver: Receiver) -> None:
    who = {"from": None, "user_id": "US.42", "username": "ann.bo"}
    sandbox.inbound("Hi", **who)
    value = receiver.changes()[0]
    assert value["contacts"] == [
        {"profile": {"name": value["contacts"][0]["profile"]["name"], "username": "ann.bo"}, "user_id": "US.42"}
    ]
    assert "from" not in value["messages"][0]
    assert value["messages"][0]["from_user_id"] == "US.42"
    message_id = sandbox.send(to=None, recipient="US.42")
    wait_for(lambda: receiver.status_updates(message_id), "a status")
    status = receiver.status_updates(message_id)[0]
    assert status["recipient_user_id"] == "US.42"
    assert "recipient_id" not in status


def test_a_customer_with_both_is_told_with_both(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.inbound("Hi", user_id="US.43")
    message = receiver.messages()[0]
    assert (message["from"], message["from_user_id"]) == ("15550001111", "US.43")
    message_id = sandbox.send()
    wait_for(lambda: receiver.status_updates(message_id), "a status")
    status = receiver.status_updates(message_id)[0]
    assert (status["recipient_id"], status["recipient_user_id"]) == ("15550001111", "US.43")


def test_updates_travel_in_batches_when_wanted(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"batch": 100, "batch_wait_ms": 150})
    ids = [sandbox.send(f"+1555000{n}") for n in range(2000, 2020)]
    sandbox.quiet()
    assert len(receiver.status_updates()) == 60
    assert len(receiver.bodies()) < 15
    for message_id in ids:
        assert sorted(receiver.names(message_id)) == ["delivered", "read", "sent"]
    largest = max(len(value.get("statuses", ())) for value in receiver.changes())
    assert largest > 10
    for value in receiver.changes():
        assert {c["wa_id"] for c in value["contacts"]} == {s["recipient_id"] for s in value["statuses"]}


def test_anything_but_200_is_tried_again(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"retry_delays": [0.02, 0.05]})
    receiver.statuses = [500, 204, 302]
    sandbox.inbound("again and again")
    assert [status for _, _, status in receiver.requests] == [500, 204, 302, 200]
    assert len({body for _, body, _ in receiver.requests}) == 1
    webhooks = sandbox.stats()["webhooks"]
    assert (webhooks["failed_attempts"], webhooks["delivered"], webhooks["last_error"]) == (3, 1, None)


def test_no_answer_in_time_is_tried_again(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"webhook_timeout": 0.2, "retry_delays": [0.05]})
    receiver.delay = 0.6
    sandbox.control("POST", "inbound", {"from": CUSTOMER, "type": "text", "text": {"body": "x"}})
    wait_for(lambda: sandbox.stats()["webhooks"]["failed_attempts"], "the timeout")
    assert "No answer in time" in sandbox.stats()["webhooks"]["last_error"]
    receiver.delay = 0
    sandbox.quiet()


def test_a_web_app_that_was_down_gets_everything(sandbox: Sandbox) -> None:
    port = free_port()
    number = {"phone_number_id": "201", "display_phone_number": "+1 555 200 0201"}
    sandbox.control("PUT", "numbers", [number | {"webhook_url": f"http://127.0.0.1:{port}/hook"}])
    ids = [
        sandbox.post(
            {"messaging_product": "whatsapp", "to": f"+1555300{n}", "text": {"body": "x"}}, number="201"
        ).json()["messages"][0]["id"]
        for n in range(1000, 1010)
    ]
    wait_for(lambda: sandbox.stats()["webhooks"]["failed_attempts"], "a failed attempt")
    health = sandbox.stats()["webhooks"]
    assert health["pending"] > 0
    assert health["last_error"] == "The web app cannot be reached."
    late = Receiver(port)
    try:
        sandbox.control("POST", "webhooks/retry")
        sandbox.quiet()
        for message_id in ids:
            assert sorted(set(late.names(message_id))) == ["delivered", "read", "sent"]
    finally:
        late.close()


def test_a_dead_address_does_not_delay_another_number(sandbox: Sandbox, receiver: Receiver) -> None:
    dead = {"phone_number_id": "202", "display_phone_number": "+1 555 200 0202"}
    sandbox.control("PUT", "numbers", [dead | {"webhook_url": f"http://127.0.0.1:{free_port()}/hook"}])
    text = {"messaging_product": "whatsapp", "text": {"body": "x"}}
    for n in range(1000, 1030):
        sandbox.post({**text, "to": f"+1555301{n}"}, number="202")
    started = time.monotonic()
    sandbox.inbound("I am not dead")
    assert time.monotonic() - started < 2
    sandbox.control("DELETE", "state")


def test_several_numbers_sign_with_their_own_secret(sandbox: Sandbox, receiver: Receiver) -> None:
    other = {
        "phone_number_id": "203",
        "waba_id": "W3",
        "display_phone_number": "+1 555 200 0203",
        "app_secret": "other",
    }
    sandbox.control("PUT", "numbers", [other | {"webhook_url": receiver.url}])
    sandbox.inbound("for the other", phone_number_id="203")
    headers, body, _ = receiver.requests[0]
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(b"other", body, hashlib.sha256).hexdigest()
    assert receiver.bodies()[0]["entry"][0]["id"] == "W3"
