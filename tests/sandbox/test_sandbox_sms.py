"""The SMS gateways: what they take, what they answer, and the signed callbacks that follow."""

import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from playground import CUSTOMER, SECRET, TOKEN, Receiver, Sandbox, wait_for

from sandbox.callbacks import twilio_signature
from sandbox.gateways.segments import segments

TEXT = {"to": CUSTOMER, "message": "Hello Ann", "contactId": "c_1", "workspaceId": "w_1", "campaignId": "k_9"}
ACCOUNT = "AC" + "5a" * 16


def sms(sandbox: Sandbox, receiver: Receiver | None = None, *, token: str | None = TOKEN, **more: Any) -> Any:
    body = TEXT | ({"callbackUrl": receiver.url} if receiver else {}) | more
    return sandbox.gateway("sms/send-sms", body, token)


def twilio(sandbox: Sandbox, account: str = ACCOUNT, password: str = TOKEN, **form: str) -> Any:
    url = f"{sandbox.url}/twilio/2010-04-01/Accounts/{account}/Messages.json"
    form = {"To": CUSTOMER, "From": "+15550783882", "Body": "Hello"} | form
    sent = {key: value for key, value in form.items() if value}
    return sandbox.session.post(url, data=sent, auth=(ACCOUNT, password), timeout=20)


def forms(receiver: Receiver) -> list[dict[str, str]]:
    with receiver.lock:
        return [dict(parse_qsl(body.decode(), keep_blank_values=True)) for _, body, _ in receiver.requests]


def test_a_text_is_taken_and_its_receipts_are_signed(sandbox: Sandbox, receiver: Receiver) -> None:
    answer = sms(sandbox, receiver)
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    message_id = answer.json()["messageId"]
    assert message_id.startswith("SM")
    wait_for(lambda: len(receiver.requests) == 2, "two receipts")
    assert [body["status"] for body in receiver.bodies()] == ["sent", "delivered"]
    assert {(body["messageId"], body["to"]) for body in receiver.bodies()} == {(message_id, CUSTOMER)}
    assert set(receiver.bodies()[0]) == {"messageId", "status", "to", "timestamp"}
    for headers, body, _ in receiver.requests:
        signed = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Signature-256"] == f"sha256={signed}"
    entry = sandbox.log("sms")[0]
    assert (entry["message_id"], entry["to"], entry["body"]["campaignId"]) == (message_id, "15550001111", "k_9")
    assert sandbox.stats()["accepted_by_kind"]["sms"] == 1


def test_the_same_key_is_answered_the_same_and_sent_once(sandbox: Sandbox, receiver: Receiver) -> None:
    first = sms(sandbox, receiver, idempotencyKey="out_1").json()
    again = sandbox.gateway("sms/send-sms", TEXT, **{"Idempotency-Key": "out_1"}).json()
    other = sms(sandbox, receiver, idempotencyKey="out_2").json()
    assert first == again != other
    sandbox.quiet()
    assert sorted(body["messageId"] for body in receiver.bodies()) == sorted(
        [first["messageId"], other["messageId"]] * 2
    )
    entries = sandbox.log("sms")
    assert [entry.get("duplicate", False) for entry in entries] == [False, True, False]
    assert [entry["biz_opaque_callback_data"] for entry in entries] == ["out_1", "out_1", "out_2"]
    stats = sandbox.stats()
    assert (stats["accepted_by_kind"]["sms"], stats["duplicates_by_kind"]["sms"], stats["duplicates"]) == (2, 1, 0)


def test_callbacks_go_where_the_gateway_was_told_and_come_again_until_taken(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    sandbox.control("PATCH", "limits", {"retry_delays": [0.05]})
    sandbox.control("PUT", "gateways", {"sms": {"callback_url": receiver.url, "secret": "other", "token": "t1"}})
    receiver.statuses = [500, 204, 503]
    assert sms(sandbox).status_code == 401
    assert sms(sandbox, token="t1").status_code == 200
    sandbox.quiet()
    assert sorted(status for _, _, status in receiver.requests) == [200, 204, 500, 503]
    headers, body, _ = receiver.requests[0]
    assert headers["X-Signature-256"].endswith(hmac.new(b"other", body, hashlib.sha256).hexdigest())


def test_callbacks_travel_alone_when_webhooks_travel_in_batches(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "limits", {"batch": 100, "batch_wait_ms": 100})
    sent = {sms(sandbox, receiver).json()["messageId"] for _ in range(5)}
    sandbox.quiet()
    assert sorted((body["messageId"], body["status"]) for body in receiver.bodies()) == sorted(
        (message_id, status) for message_id in sent for status in ("sent", "delivered")
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"to": "12"}, "invalid_recipient"),
        ({"to": 5}, "invalid_recipient"),
        ({"to": None}, "invalid_recipient"),
        ({"message": ""}, "invalid_message"),
        ({"message": ["a"]}, "invalid_message"),
        ({"message": "x" * 1601}, "message_too_long"),
        ({"callbackUrl": "ftp://x"}, "invalid_callback_url"),
        ({"callbackUrl": 5}, "invalid_callback_url"),
    ],
)
def test_what_cannot_be_sent_is_refused(sandbox: Sandbox, change: dict[str, Any], code: str) -> None:
    answer = sms(sandbox, **change)
    assert (answer.status_code, answer.json()["success"], answer.json()["code"]) == (400, False, code)
    assert sandbox.stats()["refused_by_code"] == {code: 1}


def test_bad_credentials_and_bad_json_are_refused(sandbox: Sandbox) -> None:
    assert sms(sandbox, token=None).status_code == 401
    assert sms(sandbox, token="wrong").json()["code"] == "unauthorized"
    assert sandbox.gateway("sms/send-sms", ["x"]).json()["code"] == "invalid_json"
    answer = sandbox.session.post(
        f"{sandbox.url}/sms/send-sms", data=b"{", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert answer.status_code == 400
    assert TOKEN not in str(sandbox.log())


def test_faults_meet_the_gateway(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(
        match={"kind": "sms", "recipient": "1111$"}, action={"status": 429, "headers": {"Retry-After": "3"}}, times=1
    )
    refused = sms(sandbox, receiver)
    assert (refused.status_code, refused.headers["Retry-After"], refused.json()["success"]) == (429, "3", False)
    sandbox.fault(
        match={"kind": "sms"}, action={"status": 200, "body": {"success": False, "error": "no credit"}}, times=1
    )
    assert sms(sandbox, receiver).json() == {"success": False, "error": "no credit"}
    sandbox.fault(match={"kind": "sms"}, action={"status_code": 30003, "duplicate": 2}, times=1)
    assert sms(sandbox, receiver).status_code == 200
    wait_for(lambda: len(receiver.requests) == 4, "the receipts")
    failed = [body for body in receiver.bodies() if body["status"] == "failed"]
    assert (len(failed), failed[0]["error"], failed[0]["errorCode"]) == (2, "Unreachable destination handset", 30003)


@pytest.mark.parametrize(("moment", "taken"), [("before", 0), ("after", 1)])
def test_a_connection_is_dropped_before_or_after_the_text_is_taken(sandbox: Sandbox, moment: str, taken: int) -> None:
    sandbox.fault(match={"kind": "sms"}, action={"drop": moment}, times=1)
    with pytest.raises(requests.ConnectionError):
        sms(sandbox, idempotencyKey="out_1")
    assert sandbox.stats()["accepted_by_kind"].get("sms", 0) == taken
    assert sms(sandbox, idempotencyKey="out_1").status_code == 200
    assert sandbox.stats()["duplicates_by_kind"].get("sms", 0) == taken
    assert sandbox.stats()["accepted_by_kind"]["sms"] == 1


def test_a_person_writes_back(sandbox: Sandbox, receiver: Receiver) -> None:
    text = {"from": CUSTOMER, "message": "Stop, please"}
    assert "callback_url" in sandbox.control("POST", "sms/inbound", text, status=400)["error"]["message"]
    sandbox.control("PATCH", "gateways", {"sms": {"callback_url": receiver.url}})
    message_id = sandbox.control("POST", "sms/inbound", text, status=202)["id"]
    wait_for(lambda: receiver.requests, "the text")
    body = receiver.bodies()[0]
    assert {key: body[key] for key in ("type", "messageId", "from", "to", "message")} == {
        "type": "inbound",
        "messageId": message_id,
        "from": CUSTOMER,
        "to": "+15550783882",
        "message": "Stop, please",
    }
    assert receiver.requests[0][0]["X-Signature-256"].startswith("sha256=")


def test_news_can_come_late(sandbox: Sandbox, receiver: Receiver) -> None:
    message_id = sms(sandbox, receiver).json()["messageId"]
    sandbox.quiet()
    sandbox.control("POST", f"messages/{message_id}/status", {"status": "failed", "code": 30008}, status=202)
    wait_for(lambda: len(receiver.requests) == 3, "the late failure")
    assert (receiver.bodies()[-1]["status"], receiver.bodies()[-1]["errorCode"]) == ("failed", 30008)
    sandbox.control("POST", f"messages/{message_id}/status", {"status": "bounced"}, status=400)
    sandbox.control("POST", "messages/SM0/status", {"status": "failed"}, status=404)


def test_twilio_answers_in_its_own_shape_and_signs_its_callbacks(sandbox: Sandbox, receiver: Receiver) -> None:
    answer = twilio(sandbox, StatusCallback=f"{receiver.url}?x=1", Body="Ça va ’ok’ 🙂")
    assert answer.status_code == 201
    message = answer.json()
    assert (message["status"], message["num_segments"], message["error_code"]) == ("queued", "1", None)
    assert (message["sid"][:2], len(message["sid"]), message["account_sid"]) == ("SM", 34, ACCOUNT)
    wait_for(lambda: len(receiver.requests) == 2, "the callbacks")
    assert [form["MessageStatus"] for form in forms(receiver)] == ["sent", "delivered"]
    assert {form["MessageSid"] for form in forms(receiver)} == {message["sid"]}
    for (headers, _, _), form in zip(receiver.requests, forms(receiver), strict=True):
        assert headers["X-Twilio-Signature"] == twilio_signature(TOKEN, f"{receiver.url}?x=1", form)


def test_the_twilio_signature_is_that_of_the_reference() -> None:
    form = {"To": "+15550001111", "MessageStatus": "delivered", "MessageSid": "SM1"}
    url = "https://crm.example.test/sms/status?x=1"
    assert twilio_signature("dummy_auth_token", url, form) == "Q/Cu4cRtOsrhK/sYOPKIxWtAyB8="


def test_twilio_with_a_messaging_service_tells_of_the_queue_too(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match={"kind": "twilio"}, action={"status_code": 30005})
    answer = twilio(sandbox, From="", MessagingServiceSid="MG1", StatusCallback=receiver.url)
    assert answer.json()["status"] == "accepted"
    wait_for(lambda: len(receiver.requests) == 3, "the callbacks")
    assert [form["MessageStatus"] for form in forms(receiver)] == ["queued", "sent", "undelivered"]
    assert forms(receiver)[-1]["ErrorCode"] == "30005"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"To": "abc"}, 400, 21211),
        ({"To": ""}, 400, 21211),
        ({"From": ""}, 400, 21603),
        ({"Body": ""}, 400, 21602),
        ({"Body": "x" * 1601}, 400, 21617),
        ({"StatusCallback": "nowhere"}, 400, 21609),
        ({"password": "wrong"}, 401, 20003),
        ({"account": "AC1"}, 404, 20404),
    ],
)
def test_twilio_refuses_in_its_own_shape(sandbox: Sandbox, change: dict[str, str], status: int, code: int) -> None:
    answer = twilio(sandbox, **change)
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, status, code)
    assert answer.json()["message"] and answer.json()["more_info"].endswith(str(code))


@pytest.mark.parametrize(("account", "password", "status"), [(ACCOUNT, TOKEN, 200), (ACCOUNT, "x", 401)])
def test_twilio_tells_of_the_account(sandbox: Sandbox, account: str, password: str, status: int) -> None:
    url = f"{sandbox.url}/twilio/2010-04-01/Accounts/{account}.json"
    answer = sandbox.session.get(url, auth=(account, password), timeout=20)
    assert answer.status_code == status
    assert (answer.json().get("sid") == account) is (status == 200)


def test_who_writes_stop_gets_no_more_texts_from_twilio(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.control("PATCH", "gateways", {"twilio": {"callback_url": receiver.url}})
    for word, code in (("stop", 21610), ("START", None)):
        sandbox.control("POST", "sms/inbound", {"gateway": "twilio", "from": CUSTOMER, "message": word}, status=202)
        assert twilio(sandbox).json().get("code") == code
    wait_for(lambda: len(receiver.requests) == 2, "the two texts")
    heard = forms(receiver)[0]
    assert (heard["From"], heard["To"], heard["Body"], heard["SmsStatus"]) == (
        CUSTOMER,
        "+15550783882",
        "stop",
        "received",
    )
    assert receiver.requests[0][0]["X-Twilio-Signature"] == twilio_signature(TOKEN, receiver.url, heard)


def test_twilio_can_be_too_busy(sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "twilio"}, action={"status": 429}, times=1)
    assert (twilio(sandbox).json()["code"], twilio(sandbox).status_code) == (20429, 201)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("ç" * 70, 1),
        ("ç" * 71, 2),
        ("🙂" * 35, 1),
        ("🙂" * 36, 2),
        ("🙂" * 67, 3),
    ],
)
def test_parts_are_counted_as_carriers_do(text: str, count: int) -> None:
    assert segments(text) == count


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {"hat": {}},
        {"sms": []},
        {"sms": {"token": ""}},
        {"sms": {"callback_url": "x"}},
        {"twilio": {"secret": "x"}},
        {"smtp": {"user": "only"}},
        {"smtp": {"starttls": "maybe"}},
    ],
)
def test_bad_gateway_settings_are_refused(sandbox: Sandbox, bad: Any) -> None:
    before = sandbox.control("GET", "gateways")
    assert sandbox.control("PUT", "gateways", bad, status=400)["error"]["message"]
    assert sandbox.control("GET", "gateways") == before
    assert TOKEN not in str(before) and SECRET not in str(before)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "sms/send-sms", "not_found"),
        ("POST", "sms/send", "not_found"),
        ("POST", "email/send", "not_found"),
        ("GET", "twilio/2010-04-01/Accounts/x/Messages.json", 20404),
    ],
)
def test_a_wrong_address_is_told_in_the_gateways_own_shape(
    sandbox: Sandbox, method: str, path: str, code: str | int
) -> None:
    given = {"json": {}} if method == "POST" else {}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = sandbox.session.request(method, f"{sandbox.url}/{path}", headers=headers, timeout=10, **given)
    assert (answer.status_code, answer.json()["code"]) == (404, code)
