"""Faults on order, as a client really meets them."""

import time
from typing import Any

import pytest
import requests
from playground import CUSTOMER, NUMBER, Receiver, Sandbox, wait_for

TEXT = {"messaging_product": "whatsapp", "to": CUSTOMER, "type": "text", "text": {"body": "x"}}
MESSAGES = {"kind": "message"}


def hits(sandbox: Sandbox) -> list[int]:
    return [rule["hits"] for rule in sandbox.control("GET", "faults")["data"]]


def test_an_ordered_error_is_a_graph_error_and_nothing_is_accepted(sandbox: Sandbox) -> None:
    sandbox.fault(match=MESSAGES, action={"status": 500, "error_code": 131000}, times=1)
    answer = sandbox.post(TEXT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, 131000)
    assert sandbox.stats()["accepted"] == 0
    assert sandbox.post(TEXT).status_code == 200
    assert hits(sandbox) == [1]
    refused, accepted = sandbox.log("message")
    assert (refused["status"], refused["faults"]) == (500, [1])
    assert "faults" not in accepted


def test_an_ordered_body_and_header_come_as_they_are(sandbox: Sandbox) -> None:
    sandbox.control(
        "PUT",
        "faults",
        [
            {"kind": "message", "status": 502, "body": "<html>Bad Gateway</html>", "times": 1},
            {"kind": "message", "status": 429, "body": {"a": 1}, "headers": {"Retry-After": "7"}, "times": 1},
        ],
    )
    html, limited = sandbox.post(TEXT), sandbox.post(TEXT)
    assert (html.status_code, html.text, html.headers["Content-Type"][:9]) == (
        502,
        "<html>Bad Gateway</html>",
        "text/html",
    )
    assert (limited.json(), limited.headers["Retry-After"]) == ({"a": 1}, "7")


def test_an_error_may_hide_an_accepted_message(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match=MESSAGES, action={"status": 500, "accept": True}, times=1)
    assert sandbox.post({**TEXT, "biz_opaque_callback_data": "o1"}).status_code == 500
    wait_for(lambda: len(receiver.status_updates()) == 3, "the statuses")
    assert receiver.status_updates()[0]["biz_opaque_callback_data"] == "o1"
    assert sandbox.stats()["accepted"] == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_dropped_connection_is_a_connection_error(sandbox: Sandbox, receiver: Receiver, moment: str) -> None:
    sandbox.fault(match=MESSAGES, action={"drop": moment}, times=1)
    with pytest.raises(requests.exceptions.ConnectionError):
        sandbox.post({**TEXT, "biz_opaque_callback_data": "o2"})
    entry = sandbox.log("message")[0]
    assert (entry["status"], entry["cut"]) == (None, True)
    if moment == "before":
        assert sandbox.stats()["accepted"] == 0
        return
    assert sandbox.stats()["accepted"] == 1
    sandbox.quiet()
    assert [status["status"] for status in receiver.status_updates(entry["message_id"])] == [
        "sent",
        "delivered",
        "read",
    ]
    assert receiver.status_updates()[0]["biz_opaque_callback_data"] == "o2"


def test_drops_also_reach_other_calls(sandbox: Sandbox) -> None:
    for kind, path in (("template", "102290129340398/message_templates"), ("other", NUMBER)):
        for moment in ("before", "after"):
            sandbox.fault(match={"kind": kind}, action={"drop": moment}, times=1)
            with pytest.raises(requests.exceptions.ConnectionError):
                sandbox.graph("GET", path)
            assert sandbox.graph("GET", path).status_code == 200
    inbound = sandbox.inbound()
    sandbox.fault(match={"kind": "read"}, action={"drop": "after"})
    with pytest.raises(requests.exceptions.ConnectionError):
        sandbox.post({"messaging_product": "whatsapp", "status": "read", "message_id": inbound})


def test_a_delay_delays_and_ends_when_the_rule_goes(sandbox: Sandbox) -> None:
    sandbox.fault(match=MESSAGES, action={"delay": 0.3})
    started = time.monotonic()
    sandbox.send()
    assert 0.3 <= time.monotonic() - started < 5
    sandbox.fault(match=MESSAGES, action={"delay": 0.3}, times=0.5e1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(
            f"{sandbox.url}/v26.0/{NUMBER}/messages",
            json=TEXT,
            headers={"Authorization": "Bearer sandbox-access-token"},
            timeout=0.1,
        )
    sandbox.control("DELETE", "faults")
    started = time.monotonic()
    sandbox.send()
    assert time.monotonic() - started < 0.3


def test_webhooks_come_as_often_as_wanted(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match=MESSAGES, action={"duplicate": 3})
    message_id = sandbox.send()
    sandbox.quiet()
    assert sorted(receiver.names(message_id)) == sorted(["sent", "delivered", "read"] * 3)


def test_webhooks_come_in_the_wrong_order(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"statuses": {"sent_ms": 0, "delivered_ms": 100, "read_ms": 200}})
    sandbox.fault(match=MESSAGES, action={"reorder": True})
    message_id = sandbox.send()
    sandbox.quiet()
    assert receiver.names(message_id) == ["read", "delivered", "sent"]


def test_webhooks_come_late(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match=MESSAGES, action={"late": 0.4})
    started = time.monotonic()
    message_id = sandbox.send()
    wait_for(lambda: receiver.names(message_id), "the first status")
    assert time.monotonic() - started >= 0.35


def test_webhooks_do_not_come_at_all(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match=MESSAGES, action={"statuses": "none"}, times=1)
    silent, loud = sandbox.send(), sandbox.send()
    sandbox.quiet()
    wait_for(lambda: len(receiver.names(loud)) == 3, "the other message's statuses")
    assert receiver.names(silent) == []


def test_a_message_fails_later(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match=MESSAGES, action={"status_code": 131049})
    message_id = sandbox.send(biz_opaque_callback_data="o3")
    sandbox.quiet()
    (failed,) = receiver.status_updates(message_id)
    assert failed["status"] == "failed"
    assert failed["biz_opaque_callback_data"] == "o3"
    assert failed["errors"][0]["code"] == 131049
    assert failed["errors"][0]["error_data"]["details"]
    assert "contacts" not in receiver.changes()[0]


def test_a_customers_webhook_can_come_twice_late_or_never(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match={"kind": "inbound"}, action={"duplicate": 2}, times=1)
    sandbox.inbound("twice")
    sandbox.fault(match={"kind": "inbound", "recipient": "1111$"}, action={"statuses": "none"})
    sandbox.control("POST", "inbound", {"from": CUSTOMER, "type": "text", "text": {"body": "never"}})
    sandbox.inbound("other", **{"from": "+15550002222"})
    sandbox.quiet()
    assert [message["text"]["body"] for message in receiver.messages()] == ["twice", "twice", "other"]


def test_rules_match_recipient_path_and_chance(sandbox: Sandbox) -> None:
    sandbox.control(
        "PUT",
        "faults",
        [
            {"match": {"recipient": r"^\+1555000"}, "action": {"status": 500}},
            {"match": {"path": "block_users"}, "action": {"status": 503, "error_code": 2}},
            {"match": MESSAGES, "action": {"status": 400, "error_code": 131009}, "probability": 0},
        ],
    )
    assert sandbox.post(TEXT).status_code == 500
    assert sandbox.post({**TEXT, "to": "+49 151 1"}).status_code in (200, 400)
    assert sandbox.post({**TEXT, "to": "+49 151 1234567"}).status_code == 200
    assert sandbox.graph("GET", f"{NUMBER}/block_users").json()["error"]["code"] == 2
    assert hits(sandbox) == [1, 1, 0]


def test_downloads_are_media_too(sandbox: Sandbox) -> None:
    form = {"messaging_product": "whatsapp", "type": "text/plain"}
    uploaded = sandbox.graph("POST", f"{NUMBER}/media", data=form, files={"file": ("a.txt", b"x", "text/plain")})
    url = sandbox.graph("GET", uploaded.json()["id"]).json()["url"]
    token = {"Authorization": "Bearer sandbox-access-token"}
    sandbox.fault(match={"kind": "media", "path": "attachments"}, action={"status": 503}, times=1)
    assert sandbox.session.get(url, headers=token).status_code == 503
    assert sandbox.session.get(url, headers=token).content == b"x"
    sandbox.fault(match={"kind": "media"}, action={"drop": "after"})
    with pytest.raises(requests.exceptions.ConnectionError):
        sandbox.session.get(url, headers=token)


def test_a_chance_is_a_share(sandbox: Sandbox) -> None:
    sandbox.fault(match=MESSAGES, action={"status": 500}, probability=0.5)
    refused = sum(sandbox.post(TEXT).status_code == 500 for _ in range(100))
    assert 20 < refused < 80
    assert hits(sandbox) == [refused]


@pytest.mark.parametrize(
    "bad",
    [
        "x",
        [1],
        [{}],
        [{"match": {"kind": "hat"}, "action": {"delay": 1}}],
        [{"match": {"path": "("}, "action": {"delay": 1}}],
        [{"match": {}, "action": {"delay": -1}}],
        [{"match": {}, "action": {"delay": "1"}}],
        [{"match": {}, "action": {"drop": "never"}}],
        [{"match": {}, "action": {"dance": True}}],
        [{"match": {}, "action": {"status": 99}}],
        [{"match": {}, "action": {"body": "x"}}],
        [{"match": {}, "action": {"status": 500, "headers": {"a": "b\r\nc"}}}],
        [{"match": {}, "action": {"duplicate": 0}}],
        [{"match": {}, "action": {"delay": 1}, "probability": 2}],
        [{"match": {}, "action": {"delay": 1}, "times": 0}],
        [{"match": {}, "action": {"delay": 1}, "hat": 0}],
    ],
)
def test_a_bad_rule_is_refused_and_the_old_ones_stay(sandbox: Sandbox, bad: Any) -> None:
    sandbox.fault(match=MESSAGES, action={"late": 1}, name="kept")
    assert sandbox.control("PUT", "faults", bad, status=400)["error"]["message"]
    assert sandbox.control("GET", "faults")["data"][0]["name"] == "kept"
