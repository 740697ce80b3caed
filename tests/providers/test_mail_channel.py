"""Channels of e-mail: what they send by the gateway, what it answers, and what it calls about later."""

import hmac
import json
import uuid
from datetime import timedelta
from typing import Any

import orjson
import pytest

from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from crm_tasks.providers.mail import EMAIL_API, SMTP, gateway, unsubscribe
from crm_tasks.providers.mail.unsubscribe import Leaving
from crm_tasks.providers.provider import (
    Accepted,
    Action,
    Address,
    Callback,
    Malformed,
    Outgoing,
    Refusal,
    Report,
    Sender,
    Unknown,
)
from tests.providers.mails import ID
from tests.providers.mailserver import mail_server
from tests.providers.returned import bounce, complaint

WORKSPACE, CONTACT = str(uuid.uuid4()), str(uuid.uuid4())


def outgoing(category: str = "service", **content: Any) -> Outgoing:
    words = {"subject": "Hello", "html": "<p>Hi</p>", "text": ""} | content
    to = Address("email", "ann@example.net")
    return Outgoing(str(ID), to, "email", words, workspace_id=WORKSPACE, contact_id=CONTACT, category=category)


def by_gateway(**settings: Any) -> Sender:
    own = {"from_address": "shop@example.com", "from_name": "Shop, the", **settings}
    return Sender("c", "http://gateway.test/email", own, {"access_token": "secret", "callback_secret": "hush"})


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say what the gateway answers; returns what it was asked."""
    asked: list[dict[str, Any]] = []

    def set_answer(status: int | Exception, body: Any = b"", **headers: str) -> list[dict[str, Any]]:
        def request(_method: str, url: str, **options: Any) -> Answer:
            asked.append({"url": url, **options, "body": orjson.loads(options["data"])})
            if isinstance(status, Exception):
                raise status
            return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())

        monkeypatch.setattr(gateway.http, "request", request)
        return asked

    return set_answer


# --- the gateway -------------------------------------------------------------------------------------------------


def test_a_gateway_is_asked_once_with_everything_it_needs(answer: Any) -> None:
    asked = answer(200, {"success": True, "messageId": "EM1"})
    file = {"name": "a.txt", "media_type": "text/plain", "data": b"hello"}
    assert EMAIL_API.send(by_gateway(), outgoing(attachments=[file])) == Accepted("EM1")
    (request,) = asked
    body = request["body"]
    assert request["url"] == "http://gateway.test/email/send-email"
    assert request["headers"]["Authorization"] == "Bearer secret"
    assert request["headers"]["Idempotency-Key"] == str(ID)
    assert (body["to"], body["from"]) == ("ann@example.net", '"Shop, the" <shop@example.com>')
    assert (body["subject"], body["html"], body["contactId"], body["workspaceId"]) == (
        "Hello",
        "<p>Hi</p>",
        CONTACT,
        WORKSPACE,
    )
    assert body["attachments"] == [{"filename": "a.txt", "contentType": "text/plain", "content": "aGVsbG8="}]
    assert "List-Unsubscribe" not in body["headers"]


def test_marketing_names_the_way_out(answer: Any) -> None:
    asked = answer(200, {"id": 7})
    assert EMAIL_API.send(by_gateway(), outgoing("marketing")) == Accepted("7")
    headers = asked[0]["body"]["headers"]
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    token = headers["List-Unsubscribe"].rpartition("/u/")[2].rstrip(">")
    assert unsubscribe.read(token) == Leaving(
        uuid.UUID(WORKSPACE), uuid.UUID(CONTACT), "ann@example.net", "marketing", ID
    )


ANSWERS: list[tuple[Any, Any, Any]] = [
    (202, {"data": {"id": "x"}}, Accepted("x")),
    (200, b"", Accepted(str(ID))),
    (200, [1], Accepted(str(ID))),
    (200, {"id": True}, Accepted(str(ID))),
    (200, {"success": False, "error": "x"}, Action.MESSAGE),
    (400, {}, Action.MESSAGE),
    (422, b"<html>", Action.MESSAGE),
    (401, {}, Action.STOP),
    (404, {}, Action.STOP),
    (302, {}, Action.STOP),
    (408, {}, Action.RETRY),
    (425, {}, Action.RETRY),
    (429, {}, Action.RETRY),
    (503, {}, Unknown),
    (500, {}, Unknown),
    (502, b"<html>", Unknown),
    (NotSent("refused"), None, Action.RETRY),
    (NoAnswer("Timeout"), None, Unknown),
]


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS, ids=lambda value: str(value)[:30])
def test_every_answer_has_a_meaning(answer: Any, status: Any, body: Any, expected: Any) -> None:
    answer(status, body)
    result = EMAIL_API.send(by_gateway(), outgoing())
    if isinstance(expected, Action):
        assert isinstance(result, Refusal) and result.action is expected
    else:
        assert result == expected or (isinstance(expected, type) and isinstance(result, expected))


@pytest.mark.parametrize("status", [500, 504, NoAnswer("Timeout")])
def test_a_gateway_that_knows_the_key_is_asked_again(answer: Any, status: Any) -> None:
    answer(status, **{"Retry-After": "30"})
    result = EMAIL_API.send(by_gateway(idempotent="true"), outgoing())
    assert isinstance(result, Refusal) and result.action is Action.RETRY
    assert isinstance(status, Exception) or result.retry_after == timedelta(seconds=30)


@pytest.mark.parametrize("provider", [SMTP, EMAIL_API])
@pytest.mark.parametrize(
    "content",
    [
        {"subject": "a\r\nBcc: eve@example.com"},
        {"headers": {"X-A": "b\nBcc: x"}},
        {"subject": ""},
        {"reply_to": "x\ny"},
    ],
    ids=str,
)
def test_nothing_that_was_not_looked_at_slips_by(answer: Any, provider: Any, content: dict[str, Any]) -> None:
    asked = answer(200, {})
    with mail_server() as server:
        sender = by_gateway(host="127.0.0.1", port=server.port, security="none")
        result = provider.send(sender, outgoing(**content))
    assert isinstance(result, Refusal) and result.action is Action.MESSAGE
    assert (asked, server.commands) == ([], [])


@pytest.mark.parametrize("change", [{"port": "x"}, {"port": 0}, {"security": "ssl"}], ids=str)
def test_a_channel_that_is_set_up_wrong_stops(change: dict[str, Any]) -> None:
    result = SMTP.send(by_gateway(host="127.0.0.1", **change), outgoing())
    assert isinstance(result, Refusal) and result.action is Action.STOP


# --- what it calls about -----------------------------------------------------------------------------------------


def callback(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def told(**event: Any) -> Report:
    assert EMAIL_API.parse is not None
    (found,) = EMAIL_API.parse(callback({"messageId": "EM1", **event}))
    assert isinstance(found, Report)
    return found


def test_a_gateway_tells_of_delivery() -> None:
    found = told(status="delivered", to="ann@example.net", timestamp="2026-11-22T06:00:00Z")
    assert (found.status, found.provider_id, found.recipient, found.verdict) == (
        "delivered",
        "EM1",
        "ann@example.net",
        None,
    )
    assert found.at is not None and found.at.isoformat() == "2026-11-22T06:00:00+00:00"


FAILURES = [
    ({"status": "bounced"}, "failed", "bounced"),
    ({"status": "bounced", "error": "5.1.1 nobody", "errorCode": 550}, "failed", "bounced"),
    ({"status": "bounced", "error": "5.2.2 full", "errorCode": 552}, "failed", "full"),
    ({"status": "bounced", "errorCode": 450}, "failed", None),
    ({"status": "failed", "error": "no idea"}, "failed", None),
    ({"status": "Complained"}, "delivered", "complained"),
]


@pytest.mark.parametrize(("event", "status", "verdict"), FAILURES, ids=str)
def test_a_gateway_tells_of_bounces_and_complaints(event: dict[str, Any], status: str, verdict: str | None) -> None:
    found = told(**event)
    assert (found.status, found.verdict) == (status, verdict)


@pytest.mark.parametrize("at", [None, "yesterday", 10**20, [], "2026-11-22T06:00:00", -1e300])
def test_no_moment_makes_it_fail(at: Any) -> None:
    told(status="delivered", timestamp=at)


def test_several_events_come_in_one_request_and_what_is_of_no_interest_is_left_out() -> None:
    assert EMAIL_API.parse is not None
    events = [{"messageId": "a", "status": "deferred"}, {"messageId": "b", "event": "delivered"}]
    assert [each.provider_id for each in EMAIL_API.parse(callback(events))] == ["b"]
    assert [each.provider_id for each in EMAIL_API.parse(callback({"events": events}))] == ["b"]


@pytest.mark.parametrize("body", [b"", b"x", b"7", [7], {"status": "delivered"}, {"messageId": {}, "status": "sent"}])
def test_what_is_no_report_is_put_aside(body: Any) -> None:
    assert EMAIL_API.parse is not None
    with pytest.raises(Malformed):
        EMAIL_API.parse(callback(body))


def test_returned_mail_is_read_as_such() -> None:
    assert SMTP.parse is not None
    (bounced,) = SMTP.parse(bounce())
    (complained,) = SMTP.parse(complaint())
    assert isinstance(bounced, Report) and isinstance(complained, Report)
    assert (bounced.status, bounced.message_id, bounced.verdict) == ("failed", str(ID), "bounced")
    assert (complained.status, complained.message_id, complained.verdict) == ("delivered", str(ID), "complained")
    assert SMTP.parse(bounce(action="delayed")) == []


def test_only_the_secret_of_the_channel_signs() -> None:
    assert EMAIL_API.verify is not None

    def signed(secret: bytes, body: bytes = b"{}") -> Callback:
        return Callback("u", {"x-signature-256": "sha256=" + hmac.digest(secret, body, "sha256").hex()}, b"{}")

    assert EMAIL_API.verify(by_gateway(), signed(b"hush"))
    assert not EMAIL_API.verify(by_gateway(), signed(b"other"))
    assert not EMAIL_API.verify(by_gateway(), signed(b"hush", b"[]"))
    assert not EMAIL_API.verify(by_gateway(), Callback("u", {}, b"{}"))
    assert not EMAIL_API.verify(Sender("c", "", {}, {}), signed(b""))


# --- the link ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "x", "é", "x" * 5000, "gAAAAA", "..%2f", "\x00"])
def test_a_token_that_is_not_ours_names_nobody(token: str) -> None:
    assert unsubscribe.read(token) is None


def test_a_token_does_not_show_the_address_and_cannot_be_changed() -> None:
    leaving = Leaving(uuid.UUID(WORKSPACE), None, "ann@example.net", "marketing")
    token = unsubscribe.token(leaving)
    assert unsubscribe.read(token) == leaving
    assert "ann" not in token
    assert unsubscribe.read(token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")) is None


def test_what_else_is_encrypted_with_the_same_key_is_no_link() -> None:
    from crm_tasks.core import crypto

    assert unsubscribe.read(crypto.encrypt({"access_token": "x"}).decode()) is None
    assert unsubscribe.read(crypto.encrypt(["u2", "", "", "", "a", "b"]).decode()) is None
