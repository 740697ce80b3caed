"""The JSON gateway for SMS: what it is sent, what its answers mean, and which callbacks are believed."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from crm_tasks.providers import sms
from crm_tasks.providers.http import Answer
from crm_tasks.providers.provider import (
    Accepted,
    Action,
    Address,
    Callback,
    Inbound,
    Malformed,
    Outgoing,
    Refusal,
    Report,
    Result,
    Sender,
    Unknown,
)
from tests.gateways import CUT, gateway

ANN = Address("phone", "+15550001111")
HELLO = Outgoing("m-1", ANN, "text", {"body": "Hé 😀"}, workspace_id="w-1", contact_id="c-1")


def sender(url: str = "http://127.0.0.1:9", **settings: Any) -> Sender:
    return Sender("ch-1", url, settings, {"token": "a-secret-token"})


def result(status: int, body: Any, *, idempotent: Any = None, **headers: str) -> Result:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    settings = {} if idempotent is None else {"idempotent": idempotent}
    return sms._result(sender(**settings), HELLO, Answer(status, named, data))


# --- what is sent ------------------------------------------------------------------------------------------------


def test_a_text_is_posted_as_the_gateway_wants_it() -> None:
    with gateway() as there:
        assert sms.send(sender(there.url + "/v1/"), HELLO) == Accepted("G1")
    (request,) = there.requests
    assert request["path"] == "/v1/send-sms"
    assert request["body"] == {
        "to": "+15550001111",
        "message": "Hé 😀",
        "contactId": "c-1",
        "workspaceId": "w-1",
        "idempotencyKey": "m-1",
    }
    headers = request["headers"]
    assert (headers["Authorization"], headers["Idempotency-Key"]) == ("Bearer a-secret-token", "m-1")
    assert "a-secret-token" not in repr(sender())


def test_metadata_goes_along_and_overrides_nothing() -> None:
    content = {
        "body": "x",
        "metadata": {"campaignId": "k-9", "to": "+1666", "message": "!", "contactId": "?", "workspaceId": "?"},
    }
    out = Outgoing("m-1", ANN, "text", content, workspace_id="w-1", contact_id="c-1")
    told = sms.body(sender(), out)
    assert told.pop("campaignId") == "k-9"
    assert told == {
        "to": "+15550001111",
        "message": "x",
        "contactId": "c-1",
        "workspaceId": "w-1",
        "idempotencyKey": "m-1",
    }


def test_ids_of_the_callers_own_go_in_the_place_of_ours() -> None:
    content = {"body": "x", "external": {"contactId": "theirs", "workspaceId": "17"}}
    told = sms.body(sender(), Outgoing("m", ANN, "text", content, workspace_id="w", contact_id="c"))
    assert (told["contactId"], told["workspaceId"]) == ("theirs", "17")


def test_callbacks_are_asked_for_only_where_they_could_be_believed() -> None:
    signing = Sender("ch-1", "http://x", {}, {"token": "t", "callback_secret": "s"})
    assert sms.body(signing, HELLO)["callbackUrl"].endswith("/webhooks/sms/ch-1")
    assert "callbackUrl" not in sms.body(sender(), HELLO)


@pytest.mark.parametrize("missing", ["workspace_id", "contact_id"])
def test_no_contact_or_workspace_is_invented(missing: str) -> None:
    ids = {"workspace_id": "w-1", "contact_id": "c-1", missing: ""}
    found = sms.send(sender(), Outgoing("m-1", ANN, "text", {"body": "x"}, **ids))
    assert isinstance(found, Refusal)
    assert found.action is Action.MESSAGE


def test_a_channel_without_an_address_is_stopped() -> None:
    found = sms.send(sender(""), HELLO)
    assert isinstance(found, Refusal)
    assert (found.action, "SMS_API_URL" in found.message) == (Action.STOP, True)


# --- what is answered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [{"id": "A"}, {"messageId": "A"}, {"sid": "A"}, {"data": {"id": "A"}}, {"success": True, "messageId": "A"}],
    ids=str,
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_an_accepted_text_has_the_gateways_id(status: int, body: Any) -> None:
    assert result(status, body) == Accepted("A")


@pytest.mark.parametrize("body", [b"", b" ", {}, {"id": None}, {"id": True}, {"id": ""}, {"data": "A"}], ids=str)
def test_without_an_id_callbacks_name_ours(body: Any) -> None:
    assert result(200, body) == Accepted("m-1")


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"OK", [], "ok"], ids=str)
def test_a_page_that_is_no_gateways_says_nothing(body: Any) -> None:
    assert isinstance(result(200, body), Unknown)


@pytest.mark.parametrize("status", [200, 400, 404, 409, 410, 422, 451])
def test_a_no_is_final_and_quotes_nobody(status: int) -> None:
    said = {"success": False, "error": "+15550001111 cannot get 'Hé 😀'", "code": "invalid_recipient"}
    found = result(status, said)
    assert isinstance(found, Refusal)
    assert (found.action, found.code) == (Action.MESSAGE, -status)
    assert found.message.endswith(": invalid_recipient")
    assert "555" not in found.message


def test_a_code_that_is_known_says_what_it_is_about() -> None:
    found = result(400, {"success": False, "code": 21610})
    assert isinstance(found, Refusal)
    assert (found.action, found.code, found.verdict) == (Action.PERSON, 21610, "unsubscribed")


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_wait_is_asked_for_and_kept(status: int) -> None:
    assert result(status, b"", Retry_After="7") == Refusal(
        Action.RETRY, -status, f"HTTP {status}", timedelta(seconds=7)
    )
    assert result(status, b"", Retry_After="soon") == Refusal(Action.RETRY, -status, f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 302, 401, 403])
def test_what_concerns_every_message_stops_the_channel(status: int) -> None:
    found = result(status, b"")
    assert isinstance(found, Refusal)
    assert found.action is Action.STOP


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_broken_gateway_may_have_sent_it_unless_it_heeds_the_key(status: int) -> None:
    for said in (None, "false", "no", ""):
        assert isinstance(result(status, b"", idempotent=said), Unknown), said
    for said in ("true", "yes", True):
        found = result(status, b"", idempotent=said, Retry_After="9")
        assert found == Refusal(Action.RETRY, -status, f"HTTP {status}", timedelta(seconds=9)), said


def test_a_cut_may_have_sent_it_unless_the_gateway_heeds_the_key() -> None:
    with gateway() as there:
        there.answers = [CUT]
        assert isinstance(sms.send(sender(there.url), HELLO), Unknown)
        found = sms.send(sender(there.url, idempotent="true"), HELLO)
    assert isinstance(found, Refusal)
    assert found.action is Action.RETRY
    assert [request["headers"]["Idempotency-Key"] for request in there.requests] == ["m-1", "m-1"]


def test_without_a_connection_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway() as gone:
        pass
    monkeypatch.setattr("crm_tasks.providers.http.time.sleep", lambda _: None)
    found = sms.send(sender(gone.url), HELLO)
    assert isinstance(found, Refusal)
    assert (found.action, found.code) == (Action.RETRY, -1)


# --- callbacks ---------------------------------------------------------------------------------------------------


def signed(secret: str, body: bytes, header: str = "X-Signature-256") -> Callback:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return Callback("https://crm.example.test/webhooks/sms/1", {header: f"sha256={digest}"}, body)


def test_a_callback_is_believed_by_its_signature_alone() -> None:
    ours = Sender("c", "http://x", {}, {"token": "t", "callback_secret": "s"})
    good = signed("s", b"{}")
    assert sms.verify(ours, good)
    assert not sms.verify(ours, Callback(good.url, good.headers, b"{ }"))
    assert not sms.verify(ours, signed("t", b"{}"))
    assert not sms.verify(ours, Callback(good.url, {}, b"{}"))
    assert not sms.verify(ours, Callback(good.url, {"X-Signature-256": "sha256=é"}, b"{}"))
    assert not sms.verify(sender(), signed("", b"{}"))


@pytest.mark.parametrize(
    ("told", "status", "code", "verdict"),
    [
        ({"status": "sent"}, "sent", None, None),
        ({"status": "Delivered"}, "delivered", None, None),
        ({"status": "failed", "errorCode": 30003}, "failed", 30003, "unreachable"),
        ({"status": "undelivered", "errorCode": 30007}, "failed", 30007, None),
        ({"status": "failed", "error": "x", "errorCode": 21610}, "failed", 21610, "unsubscribed"),
        ({"status": "rejected"}, "failed", 0, None),
        ({"status": "warped"}, "warped", None, None),
    ],
)
def test_a_status_says_how_far_a_text_has_come(told: Any, status: str, code: int | None, verdict: str | None) -> None:
    more = {"messageId": "G1", "to": "15550001111", "timestamp": "2026-11-01T10:00:00Z"}
    (found,) = sms.parse(orjson.dumps({**more, **told}))
    assert isinstance(found, Report)
    assert (found.status, found.provider_id, found.recipient) == (status, "G1", "+15550001111")
    assert found.at == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert (found.error["code"] if found.error else None, found.verdict) == (code, verdict)


def test_a_status_may_name_our_own_id() -> None:
    (found,) = sms.parse(b'{"idempotencyKey":"m-1","status":"sent","timestamp":"soon"}')
    assert found == Report("sent", None, "m-1")


def test_a_persons_text() -> None:
    told = {"type": "inbound", "messageId": "I1", "from": "15550001111", "to": "+1", "message": "STOP"}
    assert sms.parse(orjson.dumps(told)) == [Inbound("I1", ANN, "STOP")]
    (short,) = sms.parse(b'{"id":"I2","from":"40404","text":"PIN 1234"}')
    assert isinstance(short, Inbound)
    assert short.sender.value == "40404"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"{}", b'{"status":"sent"}', b'{"messageId":"1"}', b'{"type":"inbound","from":"+1555"}'],
    ids=str,
)
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        sms.parse(body)
