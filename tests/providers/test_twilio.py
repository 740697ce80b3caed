"""Twilio: what it is sent, its numbers of errors, its signatures, statuses and texts."""

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from crm_tasks.providers import sms_errors, twilio
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
from tests.providers.servers import says, server

ANN = Address("phone", "+15550001111")
HELLO = Outgoing("m-1", ANN, "text", {"body": "Hé"}, workspace_id="w", contact_id="c")
NUMBER = {"account_sid": "AC1", "from": "+15550783882"}
# The vector of the protocol reference.
TOKEN, URL = "dummy_auth_token", "https://crm.example.test/sms/status?x=1"
FORM = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+15550001111"}
SIGNATURE = "Q/Cu4cRtOsrhK/sYOPKIxWtAyB8="


def sender(url: str = "http://127.0.0.1:9", **settings: str) -> Sender:
    return Sender("ch-1", url, settings or NUMBER, {"auth_token": TOKEN})


def result(status: int, body: Any, **headers: str) -> Result:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return twilio._result(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data))


# --- sending -----------------------------------------------------------------------------------------------------


def test_a_text_is_a_form_with_basic_auth() -> None:
    with gateway() as there:
        assert twilio.send(sender(there.url), HELLO) == Accepted("G1")
    (request,) = there.requests
    assert request["path"] == "/2010-04-01/Accounts/AC1/Messages.json"
    assert request["headers"]["Authorization"] == "Basic " + base64.b64encode(f"AC1:{TOKEN}".encode()).decode()
    callback = request["body"].pop("StatusCallback")
    assert callback.endswith("/webhooks/sms/ch-1")
    assert request["body"] == {"To": "+15550001111", "Body": "Hé", "From": "+15550783882"}


def test_a_messaging_service_chooses_the_number() -> None:
    with gateway() as there:
        twilio.send(sender(there.url, account_sid="AC1", messaging_service_sid="MG1"), HELLO)
    (request,) = there.requests
    assert (request["body"]["MessagingServiceSid"], "From" in request["body"]) == ("MG1", False)


def test_a_channel_without_a_sender_is_stopped() -> None:
    found = twilio.send(sender(account_sid="AC1"), HELLO)
    assert isinstance(found, Refusal)
    assert found.action is Action.STOP


CLASSES = {
    Action.PERSON: (21211, 21214, 21408, 21608, 21610, 21612, 21614),
    Action.MESSAGE: (21602, 21604, 21605, 21617),
    Action.STOP: (20003, 20005, 20404, 21212, 21603, 21606, 21609, 21703),
    Action.RETRY: (20429, 21611),
}


@pytest.mark.parametrize(
    ("code", "action"), [(code, action) for action, codes in CLASSES.items() for code in codes], ids=str
)
def test_a_number_says_what_to_do(code: int, action: Action) -> None:
    found = result(400, {"code": code, "message": "about +15550001111", "status": 400})
    assert isinstance(found, Refusal)
    assert (found.action, found.code) == (action, code)
    assert "555" not in found.message


def test_every_number_is_of_a_class_and_the_later_ones_say_something_of_the_person() -> None:
    assert {code for codes in CLASSES.values() for code in codes} == {code for code in sms_errors.TABLE if code < 30000}
    told = {code: sms_errors.verdict(code) for code in sms_errors.TABLE if code >= 30000}
    assert {code for code, verdict in told.items() if verdict == "unreachable"} == {30003, 30004, 30005, 30006}
    assert sms_errors.verdict(21610) == "unsubscribed"
    assert sms_errors.verdict(99999) is None


def test_a_number_that_nobody_knows_is_final() -> None:
    found = result(400, {"code": 99999, "message": "about +15550001111"})
    assert found == Refusal(Action.MESSAGE, 99999, "an error that is not in our table")


@pytest.mark.parametrize("body", [{"code": 20429}, b"busy"])
def test_too_many_requests_wait(body: Any) -> None:
    found = result(429, body, Retry_After="3")
    assert isinstance(found, Refusal)
    assert (found.action, found.retry_after) == (Action.RETRY, timedelta(seconds=3))


def test_a_wrong_token_stops_the_channel() -> None:
    found = result(401, b"")
    assert isinstance(found, Refusal)
    assert (found.action, found.code) == (Action.STOP, 20003)


@pytest.mark.parametrize(
    ("status", "body"),
    [(201, {}), (200, b"<html>"), (302, b""), (500, {"code": 20500}), (502, b"<html>"), (503, {"code": 21211})],
)
def test_what_is_no_clear_answer_is_unknown(status: int, body: Any) -> None:
    assert isinstance(result(status, body), Unknown)


def test_a_cut_is_unknown() -> None:
    with gateway() as there:
        there.answers = [CUT]
        assert isinstance(twilio.send(sender(there.url), HELLO), Unknown)


# --- signatures --------------------------------------------------------------------------------------------------


def callback(url: str = URL, body: bytes | None = None, given: str = SIGNATURE) -> Callback:
    return Callback(url, {"X-Twilio-Signature": given}, urlencode(FORM).encode() if body is None else body)


def sign(url: str, token: str = TOKEN, **form: str) -> str:
    text = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def test_the_published_vector_verifies() -> None:
    assert twilio.verify(sender(), callback())


@pytest.mark.parametrize(
    "other",
    [
        callback(url=URL + "1"),
        callback(url="https://crm.example.test/sms/status"),
        callback(body=urlencode({**FORM, "MessageStatus": "failed"}).encode()),
        callback(body=urlencode({**FORM, "ErrorCode": "30003"}).encode()),
        callback(body=b""),
        callback(given=""),
        callback(given="é"),
        callback(given=SIGNATURE.lower()),
        callback(given=sign(URL, "another_token", **FORM)),
        callback(url="https://[crm"),
        callback(url="https://crm.example.test:x/"),
        callback(body=b"&".join(b"a%d=1" % n for n in range(600))),
    ],
)
def test_any_other_does_not(other: Callback) -> None:
    assert not twilio.verify(sender(), other)


@pytest.mark.parametrize(
    ("told", "signed_as"),
    [
        ("https://crm.example.test/x", "https://crm.example.test:443/x"),
        ("https://crm.example.test:8443/x", "https://crm.example.test/x"),
        ("http://crm.example.test/x", "http://crm.example.test:80/x"),
    ],
)
def test_a_port_may_be_written_or_left_out(told: str, signed_as: str) -> None:
    assert twilio.verify(sender(), callback(told, given=sign(signed_as, **FORM)))


def test_json_is_signed_by_its_hash_in_the_address() -> None:
    body = orjson.dumps(FORM)
    url = f"https://crm.example.test/x?bodySHA256={hashlib.sha256(body).hexdigest()}"
    assert twilio.verify(sender(), callback(url, body, sign(url)))
    assert not twilio.verify(sender(), callback(url, body + b" ", sign(url)))
    bare = "https://crm.example.test/x"
    assert not twilio.verify(sender(), callback(bare, b"", sign(bare)))


def test_a_field_that_comes_twice_is_signed_with_both() -> None:
    given = twilio.signature(TOKEN, URL, {"A": ["2", "1", "2"]})
    assert given == sign(URL, A="1A2")
    assert twilio.verify(sender(), callback(body=b"A=2&A=1&A=2", given=given))


# --- what it tells -----------------------------------------------------------------------------------------------


def parsed(**form: str) -> list[Report | Inbound]:
    told = {"MessageSid": "SM1", "To": "+15550001111", **form}
    found = twilio.parse(urlencode(told).encode())
    assert twilio.parse(orjson.dumps(told)) == found
    return found


@pytest.mark.parametrize("status", ["sent", "delivered", "read"])
def test_a_status_is_told_on(status: str) -> None:
    assert parsed(MessageStatus=status) == [Report(status, "SM1", recipient="+15550001111")]


@pytest.mark.parametrize("status", ["accepted", "scheduled", "queued", "sending"])
def test_what_comes_before_it_is_sent_says_nothing_new(status: str) -> None:
    assert parsed(MessageStatus=status) == []


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        ("undelivered", "30003", "unreachable"),
        ("failed", "30007", None),
        ("failed", "21610", "unsubscribed"),
        ("undelivered", "", None),
        ("failed", "x", None),
        ("canceled", "", None),
    ],
)
def test_a_failure_says_why(status: str, code: str, verdict: str | None) -> None:
    (found,) = parsed(MessageStatus=status, ErrorCode=code)
    assert isinstance(found, Report)
    assert (found.status, found.verdict) == ("failed", verdict)
    assert found.error is not None
    assert found.error["code"] == (int(code) if code.isdecimal() else 0)


def test_a_persons_text_and_its_pictures() -> None:
    told = {"SmsStatus": "received", "From": "+15550002222", "Body": "Hé & so", "NumMedia": "0"}
    assert parsed(**told) == [Inbound("SM1", Address("phone", "+15550002222"), "Hé & so")]
    (picture,) = parsed(
        From="+15550002222", Body="", MediaUrl0="https://api.twilio.test/m", MediaContentType0="image/png"
    )
    assert isinstance(picture, Inbound)
    assert picture.text == "https://api.twilio.test/m"


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"a=1", b"MessageSid=SM1", b"MessageSid=SM1&Body=x", b"\xff=\xfe"])
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        twilio.parse(body)


# --- a look, without sending -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "ok", "said"),
    [
        (200, {"sid": "AC1", "friendly_name": "Shop", "status": "active"}, True, "Shop, active"),
        (200, {"sid": "AC1", "friendly_name": "Shop", "status": "suspended"}, False, "Shop, suspended"),
        (401, {"code": 20003}, False, "20003: "),
        (200, {}, False, "HTTP 200"),
        (503, {}, False, "HTTP 503"),
    ],
    ids=["active", "suspended", "wrong-token", "empty", "away"],
)
def test_a_check_asks_about_the_account(status: int, body: Any, ok: bool, said: str) -> None:
    data = orjson.dumps(body)
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    with server(says(head + data)) as there:
        found = twilio.check(sender(there.url.rstrip("/")))
    assert (found.ok, found.said[: len(said)]) == (ok, said)
