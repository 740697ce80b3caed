"""The e-mail gateway: its mails lie in the mailbox, and signed callbacks tell what became of them."""

import hashlib
import hmac
from typing import Any

import pytest
import requests
from playground import SECRET, TOKEN, Receiver, Sandbox, wait_for

NEWS = {"to": "Ann <ann@example.org>", "subject": "Ça va?", "html": "<p>Hi</p>", "contactId": "c", "workspaceId": "w"}


def mails(sandbox: Sandbox) -> list[Any]:
    return sandbox.control("GET", "mail")["data"]


def test_the_gateway_delivers_to_the_same_mailbox(sandbox: Sandbox, receiver: Receiver) -> None:
    wanted = NEWS | {"callbackUrl": receiver.url, "idempotencyKey": "m1", "from": "Shop <shop@example.org>"}
    first, again = (sandbox.gateway("email/send-email", wanted) for _ in range(2))
    assert (first.status_code, first.json()) == (200, again.json())
    message_id = first.json()["messageId"]
    (mail,) = mails(sandbox)
    assert (mail["id"], mail["via"], mail["subject"], mail["rcpt_to"]) == (
        message_id,
        "email",
        "Ça va?",
        ["ann@example.org"],
    )
    assert sandbox.control("GET", f"mail/{message_id}")["html"] == "<p>Hi</p>\n"
    sandbox.quiet()
    (told,) = receiver.bodies()
    assert (told["messageId"], told["status"], told["to"]) == (message_id, "delivered", "Ann <ann@example.org>")
    headers, body, _ = receiver.requests[0]
    assert headers["X-Signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert sandbox.stats()["duplicates_by_kind"]["email"] == 1
    sandbox.control("POST", f"messages/{message_id}/status", {"status": "complained"}, status=202)
    wait_for(lambda: [body["status"] for body in receiver.bodies()] == ["delivered", "complained"], "the complaint")


def test_the_gateways_mail_can_bounce(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.fault(match={"kind": "email", "recipient": "ann@"}, action={"status_code": 550})
    sandbox.gateway("email/send-email", NEWS | {"callbackUrl": receiver.url, "text": "Hi"})
    wait_for(lambda: receiver.requests, "the bounce")
    told = receiver.bodies()[0]
    assert (told["status"], told["errorCode"], told["error"]) == ("bounced", 550, "550 5.1.1 No such user here")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"to": "nobody"}, "invalid_recipient"),
        ({"to": "a@b\r\nBcc: c@d"}, "invalid_recipient"),
        ({"to": ["a@b"]}, "invalid_recipient"),
        ({"from": "x"}, "invalid_from"),
        ({"subject": " "}, "invalid_subject"),
        ({"html": None}, "invalid_content"),
    ],
)
def test_the_gateway_refuses_what_is_no_mail(sandbox: Sandbox, change: dict[str, Any], code: str) -> None:
    answer = sandbox.gateway("email/send-email", NEWS | change)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert sandbox.gateway("email/send-email", NEWS, None).status_code == 401
    assert mails(sandbox) == []


def test_the_gateway_meets_faults(sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "email"}, action={"drop": "after"}, times=1)
    with pytest.raises(requests.ConnectionError):
        sandbox.gateway("email/send-email", NEWS)
    assert len(mails(sandbox)) == 1
    assert TOKEN not in str(sandbox.log())
