"""`/_sandbox` itself: the log, the counters, odd webhooks, and what happens to bad input."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from playground import CUSTOMER, NUMBER, TOKEN, Receiver, Sandbox, free_port


def test_the_log_holds_request_and_answer(sandbox: Sandbox) -> None:
    message_id = sandbox.send("+1 (555) 000-1111", "Hi", biz_opaque_callback_data="o1")
    (entry,) = sandbox.log("message")
    assert entry["seq"] == 1
    assert entry["kind"] == "message"
    assert (entry["method"], entry["path"]) == ("POST", f"/v26.0/{NUMBER}/messages")
    assert (entry["to"], entry["message_id"], entry["biz_opaque_callback_data"]) == ("15550001111", message_id, "o1")
    assert entry["body"]["text"] == {"body": "Hi"}
    assert entry["status"] == 200
    assert entry["answer"]["messages"] == [{"id": message_id}]
    assert datetime.fromisoformat(entry["time"]).tzinfo is not None


def test_the_log_can_be_read_on_from_a_number_or_a_time(sandbox: Sandbox) -> None:
    for n in range(3):
        sandbox.send(body=str(n))
    first = sandbox.control("GET", "log?limit=2")
    assert [entry["seq"] for entry in first["data"]] == [1, 2]
    rest = sandbox.control("GET", f"log?since={first['next']}")
    assert ([entry["seq"] for entry in rest["data"]], rest["next"]) == ([3], 3)
    assert sandbox.control("GET", "log?since=3") == {"data": [], "next": 3}
    assert [entry["seq"] for entry in sandbox.log(since=first["data"][1]["time"])] == [2, 3]
    assert sandbox.log(since=datetime.now(UTC).isoformat()) == []
    assert [entry["seq"] for entry in sandbox.log(tail=1)] == [3]


def test_the_log_is_filtered_by_kind_and_recipient(sandbox: Sandbox) -> None:
    sandbox.send()
    sandbox.send("+15550002222")
    sandbox.graph("GET", NUMBER)
    sandbox.post({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X="})
    assert [entry["kind"] for entry in sandbox.log()] == ["message", "message", "other", "read"]
    assert len(sandbox.log("read,other")) == 2
    assert len(sandbox.log(to="+15550002222")) == 1
    sandbox.control("GET", "log?kind=hat", status=400)
    sandbox.control("GET", "log?since=yesterday", status=400)
    sandbox.control("GET", "log?limit=x", status=400)


def test_the_token_never_gets_into_the_log(sandbox: Sandbox) -> None:
    sandbox.session.get(f"{sandbox.url}/v26.0/{NUMBER}", params={"access_token": TOKEN, "fields": "id"})
    sandbox.send(body=f"my token is {TOKEN}")
    sandbox.session.post(f"{sandbox.url}/v26.0/{NUMBER}/messages", data={"access_token": TOKEN})
    sandbox.graph("GET", NUMBER, params={"fields": TOKEN})
    assert TOKEN not in str(sandbox.log())
    assert sandbox.log()[0]["path"] == f"/v26.0/{NUMBER}?fields=id"
    assert sandbox.log()[0]["status"] == 200
    journal = (sandbox.home / "sandbox" / "journal.jsonl").read_text().splitlines()
    assert not [line for line in journal if TOKEN in line and '"k":"number"' not in line]


def test_any_payload_can_be_sent_as_a_webhook(sandbox: Sandbox, receiver: Receiver) -> None:
    odd: list[Any] = [[], "text", None, {"object": "whatsapp_business_account", "entry": {"id": "é"}}]
    for payload in odd:
        answer = sandbox.control("POST", "webhook", {"payload": payload})
        assert (answer["status"], answer["body"]) == (200, "EVENT_RECEIVED")
    assert receiver.bodies() == odd
    raw = b"\xff\x00 not JSON"
    sandbox.control("POST", "webhook", {"raw_base64": b64encode(raw).decode()})
    assert receiver.requests[-1][1] == raw


def test_a_signature_can_be_wrong_or_missing(sandbox: Sandbox, receiver: Receiver) -> None:
    for how in ("valid", "wrong", "none"):
        sandbox.control("POST", "webhook", {"payload": {}, "signature": how})
    valid, wrong, none = (headers.get("X-Hub-Signature-256") for headers, _, _ in receiver.requests)
    assert valid and wrong and valid != wrong and len(valid) == len(wrong)
    assert none is None


def test_an_odd_field_can_be_queued_like_any_other(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("POST", "webhook", {"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}, status=202)
    sandbox.quiet()
    assert receiver.changes("account_update") == [{"event": "DISABLED_UPDATE"}]


def test_a_webhook_nobody_takes_is_told(sandbox: Sandbox) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    answer = sandbox.control("POST", "webhook", {"payload": {}, "url": url}, status=502)
    assert answer == {"status": None, "error": "The web app cannot be reached."}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "webhook", {}),
        ("POST", "webhook", {"payload": {}, "signature": "forged"}),
        ("POST", "webhook", {"raw_base64": "%"}),
        ("POST", "webhook", {"field": "x", "value": 1}),
        ("POST", "webhook", {"payload": {}, "hat": 1}),
        ("POST", "inbound?wait=long", {}),
        ("POST", "media", {}),
        ("PUT", "numbers", "x"),
        ("PUT", "templates", {"name": "order_update", "status": "LOST"}),
        ("POST", "chat/customers", {"phone": "1"}),
        ("POST", "chat/customers", {"user_id": "x"}),
        ("POST", "chat/messages", []),
    ],
)
def test_bad_input_is_a_clear_400(sandbox: Sandbox, method: str, path: str, body: Any) -> None:
    assert sandbox.control(method, path, body, status=400)["error"]["message"]


def test_no_json_is_a_clear_400(sandbox: Sandbox) -> None:
    for path, method in (("faults", "PUT"), ("limits", "PATCH"), ("inbound", "POST"), ("webhook", "POST")):
        answer = sandbox.session.request(method, f"{sandbox.url}/_sandbox/{path}", data=b"{not json")
        assert answer.status_code == 400
        assert "not JSON" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", "hat"), ("POST", "stats"), ("DELETE", "log"), ("GET", "webhook")])
def test_what_does_not_exist_is_a_json_404(sandbox: Sandbox, method: str, path: str) -> None:
    assert sandbox.control(method, path, status=404)["error"]["message"]


def test_foreign_pages_cannot_steer(sandbox: Sandbox) -> None:
    evil = {"Origin": "https://evil.example.test"}
    assert sandbox.session.delete(f"{sandbox.url}/_sandbox/state", headers=evil).status_code == 403
    own = {"Origin": sandbox.url}
    assert sandbox.session.delete(f"{sandbox.url}/_sandbox/state", headers=own).status_code == 200


def test_clearing_forgets_everything(sandbox: Sandbox) -> None:
    sandbox.fault(match={}, action={"late": 0.1})
    sandbox.inbound()
    sandbox.control("DELETE", "faults")
    sandbox.send(CUSTOMER)
    sandbox.control("DELETE", "state")
    assert sandbox.log() == []
    stats = sandbox.stats()
    assert (stats["accepted"], stats["inbound"], stats["webhooks"]["pending"]) == (0, 0, 0)
    assert sandbox.control("GET", "limits")["statuses"]["sent_ms"] == 20
    assert sandbox.control("GET", "chat/state")["customers"] == []


def test_health_tells_who_and_how(sandbox: Sandbox) -> None:
    health = sandbox.control("GET", "health")
    assert health["status"] == "ok"
    assert health["webhooks"]["last_error"] is None
