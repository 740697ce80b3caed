"""The webhook receivers: every request is kept, and answered as told."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from playground import Sandbox, wait_for
from standardwebhooks import Webhook

HOOK = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
BODY = '{"type":"message.received","timestamp":"2023-11-14T22:13:20Z","data":{"id":"m_1"}}'


def call(sandbox: Sandbox, name: str = "orders", method: str = "POST", **kwargs: Any) -> Any:
    return requests.request(method, f"{sandbox.url}/hooks/{name}", timeout=10, allow_redirects=False, **kwargs)


def received(sandbox: Sandbox, name: str = "orders") -> list[Any]:
    return sandbox.control("GET", f"hooks/{name}")["data"]


def test_any_request_is_kept(sandbox: Sandbox) -> None:
    assert call(sandbox, json={"n": 1}, headers={"X-Mine": "yes"}).status_code == 200
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
        assert call(sandbox, "orders/below?a=1", method, data=b"\xff\x00").status_code == 200
    call(sandbox, "other", data="plain")
    first, *rest = received(sandbox)
    assert (first["method"], first["path"], first["text"], first["base64"]) == (
        "POST",
        "/hooks/orders",
        '{"n": 1}',
        False,
    )
    assert ["X-Mine", "yes"] in first["headers"]
    assert [each["method"] for each in rest] == ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]
    assert (rest[0]["path"], rest[0]["text"], rest[0]["base64"]) == ("/hooks/orders/below?a=1", "/wA=", True)
    listed = sandbox.control("GET", "hooks")
    assert listed["counts"] == {"orders": 7, "other": 1}
    assert len(sandbox.control("GET", f"hooks?since={first['seq']}&limit=3")["data"]) == 3
    assert sandbox.log("hook")[0]["body"] == {"n": 1}
    assert sandbox.stats()["received_by_kind"]["hook"] == 8
    sandbox.control("DELETE", "hooks/orders")
    assert sandbox.control("GET", "hooks")["counts"] == {"other": 1}


def test_the_answer_is_as_told(sandbox: Sandbox) -> None:
    answer = {"statuses": [500, 503], "status": 429, "headers": {"Retry-After": "7"}, "body": {"wait": True}}
    sandbox.control("PUT", "hooks/orders", answer)
    answers = [call(sandbox) for _ in range(4)]
    assert [each.status_code for each in answers] == [500, 503, 429, 429]
    assert (answers[0].headers["Retry-After"], answers[0].json()) == ("7", {"wait": True})
    assert call(sandbox, "other").status_code == 200
    sandbox.control("PUT", "hooks/orders", {"redirect": "http://169.254.169.254/"})
    moved = call(sandbox)
    assert (moved.status_code, moved.headers["Location"]) == (302, "http://169.254.169.254/")
    assert [each["status"] for each in received(sandbox)] == [500, 503, 429, 429, 302]


@pytest.mark.parametrize("field", ["hang", "delay"])
def test_a_receiver_that_does_not_answer_has_the_request_already(sandbox: Sandbox, field: str) -> None:
    sandbox.control("PUT", "hooks/orders", {field: True if field == "hang" else 60})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call, sandbox, json={})
        wait_for(lambda: received(sandbox), "the request")
        assert not waiting.done()
        sandbox.control("PUT", "hooks/orders", {})
        if field == "hang":
            with pytest.raises(requests.ConnectionError):
                waiting.result(10)
        else:
            assert waiting.result(10).status_code == 200
    assert received(sandbox)[0]["cut"] is (field == "hang")


def test_a_signature_is_checked(sandbox: Sandbox) -> None:
    call(sandbox, data=BODY)
    sandbox.control("PUT", "hooks/orders", {"secret": HOOK})
    assert sandbox.control("GET", "hooks")["answers"]["orders"]["secret"] == "***"
    now = datetime.now(UTC)
    good, old = (Webhook(secret).sign("msg_1", now, BODY) for secret in (HOOK, "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZA=="))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": good}
    call(sandbox, data=BODY, headers=headers)
    call(sandbox, data=BODY + " ", headers=headers)
    call(sandbox, data=BODY, headers=headers | {"webhook-signature": f"{old} {good}"})
    call(sandbox, data=BODY, headers=headers | {"webhook-timestamp": str(int(time.time()) - 3600)})
    call(sandbox, data=BODY)
    verdicts = [each["verified"] for each in received(sandbox)]
    assert verdicts[0] is None
    assert [verdict == "ok" for verdict in verdicts[1:]] == [True, False, True, False, False]
    assert all(verdicts[1:])
    assert sandbox.log("hook")[1]["biz_opaque_callback_data"] == "msg_1"
    sandbox.control("PUT", "hooks/orders", {"secret": "no base64!"})
    assert call(sandbox, data=BODY, headers=headers).status_code == 200


def test_faults_meet_receivers(sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "hook", "path": "/orders"}, action={"status": 502, "body": "<h1>Bad</h1>"}, times=1)
    assert [call(sandbox).status_code, call(sandbox).status_code] == [502, 200]
    sandbox.fault(match={"kind": "hook"}, action={"drop": "before"}, times=1)
    with pytest.raises(requests.ConnectionError):
        call(sandbox)
    assert [each["status"] for each in received(sandbox)] == [502, 200, None]


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {"hat": 1},
        {"status": 99},
        {"statuses": [200, "x"]},
        {"statuses": 500},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\nc"}},
        {"delay": -1},
        {"hang": 1},
        {"redirect": "http://ü"},
    ],
)
def test_a_bad_answer_is_refused(sandbox: Sandbox, bad: Any) -> None:
    assert sandbox.control("PUT", "hooks/orders", bad, status=400)["error"]["message"]
    assert call(sandbox).status_code == 200


def test_many_requests_are_bounded_and_counted(sandbox: Sandbox) -> None:
    with requests.Session() as session:
        for n in range(1100):
            session.post(f"{sandbox.url}/hooks/orders", data=str(n))
    listed = sandbox.control("GET", "hooks/orders")
    assert (listed["count"], len(listed["data"]), listed["data"][-1]["text"]) == (1100, 1000, "1099")
    call(sandbox, data="x" * 200_000)
    assert len(received(sandbox)[-1]["text"]) == 64 * 1024
