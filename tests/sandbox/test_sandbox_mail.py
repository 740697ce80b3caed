"""The SMTP server, and the mailbox that it fills."""

import email
import email.policy
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

import pytest
from playground import Receiver, Sandbox, wait_for

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 16


@contextmanager
def smtp(sandbox: Sandbox) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=10) as client:
        yield client


def letter(to: str = "ann@example.org", subject: str = "Hello", **more: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Shop <shop@example.org>", to, subject
    for name, value in more.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hello Ann\n")
    return message


def send(sandbox: Sandbox, message: EmailMessage | None = None) -> None:
    with smtp(sandbox) as client:
        client.send_message(message or letter())


def mails(sandbox: Sandbox, query: str = "") -> list[Any]:
    return sandbox.control("GET", f"mail{query}")["data"]


def test_a_mail_is_taken_kept_and_shown(sandbox: Sandbox) -> None:
    message = letter(subject="Grüße ✓", Message_ID="<1@example.org>", List_Unsubscribe="<https://example.org/u>")
    message.add_alternative('<p>Hello <b>Ann</b><img src="cid:logo"></p><script>alert(1)</script>', subtype="html")
    message.get_payload()[1].add_related(PNG, maintype="image", subtype="png", cid="<logo>")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Rechnung ü.pdf")
    send(sandbox, message)
    (listed,) = mails(sandbox)
    assert (listed["subject"], listed["rcpt_to"], listed["mail_from"], listed["via"]) == (
        "Grüße ✓",
        ["ann@example.org"],
        "shop@example.org",
        "smtp",
    )
    opened = sandbox.control("GET", f"mail/{listed['id']}")
    assert ["List-Unsubscribe", "<https://example.org/u>"] in opened["headers"]
    assert opened["text"] == "Hello Ann\n"
    assert [(file["name"], file["type"]) for file in opened["attachments"]][-1] == ("Rechnung ü.pdf", "application/pdf")
    base = f"{sandbox.url}/_sandbox/mail/{listed['id']}"
    page = sandbox.session.get(f"{base}/html")
    assert (
        "sandbox" in page.headers["Content-Security-Policy"]
        and "default-src 'none'" in page.headers["Content-Security-Policy"]
    )
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert "data:image/png;base64," in page.text and "cid:" not in page.text
    file = sandbox.session.get(f"{base}/attachments/1")
    assert (file.content, file.headers["Content-Disposition"]) == (
        b"%PDF",
        "attachment; filename*=UTF-8''Rechnung%20%C3%BC.pdf",
    )
    raw = sandbox.session.get(f"{base}/raw").content
    assert email.message_from_bytes(raw, policy=email.policy.default)["Subject"] == "Grüße ✓"
    entry = sandbox.log("smtp")[0]
    assert (entry["to"], entry["status"], entry["message_id"]) == ("ann@example.org", 250, listed["id"])
    assert entry["biz_opaque_callback_data"] == "<1@example.org>"
    for missing in ("mail/ML0", "mail/ML0/raw", f"mail/{listed['id']}/attachments/9"):
        sandbox.control("GET", missing, status=404)


def test_a_mail_that_comes_again_is_kept_and_counted(sandbox: Sandbox) -> None:
    for to in ("ann@example.org", "ann@example.org", "bo@example.org"):
        send(sandbox, letter(to, Message_ID="<1@example.org>"))
    stats = sandbox.stats()
    assert (stats["accepted_by_kind"]["smtp"], stats["duplicates_by_kind"]["smtp"]) == (2, 1)
    assert [entry.get("duplicate", False) for entry in sandbox.log("smtp")] == [False, True, False]
    assert len(mails(sandbox)) == 3
    assert len(mails(sandbox, "?to=BO@example.org")) == 1
    assert len(mails(sandbox, "?limit=2&q=hello")) == 2


def test_the_certificate_can_be_trusted(sandbox: Sandbox) -> None:
    shown = sandbox.control("GET", "gateways")["smtp"]
    assert (shown["host"], shown["port"], shown["starttls"]) == ("127.0.0.1", sandbox.smtp_port, "offered")
    trusting = ssl.create_default_context(cafile=shown["certificate"])
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    with smtp(sandbox) as client:
        client.starttls(context=trusting)
        client.send_message(letter())
    with smtp(sandbox) as client, pytest.raises(ssl.SSLCertVerificationError):
        client.starttls(context=ssl.create_default_context())
    assert len(mails(sandbox)) == 1


def test_starttls_can_be_demanded_or_missing(sandbox: Sandbox) -> None:
    sandbox.control("PATCH", "gateways", {"smtp": {"starttls": "required"}})
    with smtp(sandbox) as client, pytest.raises(smtplib.SMTPSenderRefused) as refused:
        client.send_message(letter())
    assert refused.value.smtp_code == 530
    sandbox.control("PATCH", "gateways", {"smtp": {"starttls": "off"}})
    with smtp(sandbox) as client, pytest.raises(smtplib.SMTPNotSupportedError):
        client.starttls()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_password_can_be_demanded(sandbox: Sandbox, mechanism: str) -> None:
    with smtp(sandbox) as client:  # nobody asks: anything is good
        client.login("any", "thing")
    sandbox.control("PATCH", "gateways", {"smtp": {"user": "crm", "password": "pass-word"}})
    with smtp(sandbox) as client, pytest.raises(smtplib.SMTPSenderRefused) as refused:
        client.send_message(letter())
    assert refused.value.smtp_code == 530
    with smtp(sandbox) as client:
        client.ehlo()
        client.user, client.password = "crm", "wrong"
        method = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[mechanism]
        with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
            client.auth(mechanism, method)
        assert wrong.value.smtp_code == 535
    with smtp(sandbox) as client:
        client.ehlo()
        client.user, client.password = "crm", "pass-word"
        client.auth(mechanism, {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[mechanism])
        client.send_message(letter())
    assert len(mails(sandbox)) == 1
    assert "pass-word" not in str(sandbox.log()) + str(sandbox.control("GET", "gateways"))


def test_a_recipient_is_greylisted_first(sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "smtp", "path": "RCPT", "recipient": "^ann@"}, action={"status": 450}, times=2)
    send(sandbox, letter("bo@example.org"))
    for _ in range(2):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(sandbox)
        assert refused.value.recipients == {"ann@example.org": (450, b"4.2.0 Greylisted, try again later")}
    send(sandbox)
    assert [(entry["method"], entry["status"]) for entry in sandbox.log("smtp")] == [
        ("DATA", 250),
        ("RCPT", 450),
        ("RCPT", 450),
        ("DATA", 250),
    ]


@pytest.mark.parametrize(
    ("action", "code", "text"),
    [
        ({"status": 550}, 550, b"5.1.1 No such user here"),
        ({"status": 552, "body": "5.2.2 Over\r\nquota"}, 552, b"5.2.2 Over quota"),
        ({"status": 451}, 451, b"4.3.0 Local error in processing"),
        ({"status": 599}, 599, b"5.0.0 The error was ordered"),
        ({"status": 421}, 421, b"4.3.2 Service not available, closing transmission channel"),
    ],
)
def test_a_message_is_refused_with_any_reply(sandbox: Sandbox, action: dict[str, Any], code: int, text: bytes) -> None:
    sandbox.fault(match={"kind": "smtp"}, action=action, times=1)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(sandbox)
    assert (refused.value.smtp_code, refused.value.smtp_error) == (code, text)
    assert mails(sandbox) == []
    assert sandbox.stats()["refused_by_code"] == {str(code): 1}
    send(sandbox)
    assert len(mails(sandbox)) == 1


@pytest.mark.parametrize(("moment", "kept"), [("before", 0), ("after", 1)])
def test_the_connection_is_dropped_before_or_after_the_mail_is_taken(sandbox: Sandbox, moment: str, kept: int) -> None:
    sandbox.fault(match={"kind": "smtp", "path": "DATA"}, action={"drop": moment}, times=1)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(sandbox, letter(Message_ID="<1@example.org>"))
    assert len(mails(sandbox)) == kept
    assert (sandbox.log("smtp")[0]["cut"], sandbox.log("smtp")[0]["status"]) == (True, None)
    send(sandbox, letter(Message_ID="<1@example.org>"))
    assert sandbox.stats()["duplicates_by_kind"].get("smtp", 0) == kept


def test_a_refusal_may_hide_an_accepted_mail(sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "smtp"}, action={"status": 451, "accept": True}, times=1)
    with pytest.raises(smtplib.SMTPDataError):
        send(sandbox)
    assert len(mails(sandbox)) == 1


def test_a_delay_delays_one_connection_and_ends_with_the_rule(sandbox: Sandbox) -> None:
    sandbox.fault(match={"kind": "smtp", "recipient": "^slow@"}, action={"delay": 60})
    with smtp(sandbox) as slow:
        slow.ehlo()
        slow.mail("shop@example.org")
        slow.rcpt("slow@example.org")
        slow.docmd("DATA")
        slow.send(b"Subject: slow\r\n\r\nx\r\n.\r\n")
        send(sandbox)
        assert len(mails(sandbox)) == 1
        sandbox.control("DELETE", "faults")
        assert slow.getreply()[0] == 250
    assert len(mails(sandbox)) == 2


def test_a_mail_may_be_too_large(sandbox: Sandbox) -> None:
    sandbox.control("PATCH", "gateways", {"smtp": {"largest": 2048}})
    big = letter()
    big.set_content("line of text\n" * 1000)
    with smtp(sandbox) as client, pytest.raises(smtplib.SMTPResponseException) as refused:
        client.send_message(big)
    assert refused.value.smtp_code == 552


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\r\n\r\n\xff",
        b"Subject: =?x-unknown?Q?=FF?=\r\nContent-Type: text/plain; charset=nope\r\n\r\n\xff\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>no end",
        b'Content-Type: text/plain; name="=?utf-8?B?!!!?="\r\nFrom: \r\nTo: @@\r\n\r\nx',
        b"Content-Type: multipart/alternative\r\n\r\nno boundary",
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!notbase64",
        b"Date: 99\r\nMessage-ID: <<>>\r\nContent-Disposition: ;;\r\nContent-ID: \xc3\xa4\r\n\r\nx",
    ],
)
def test_a_broken_mail_is_taken_and_shown(sandbox: Sandbox, raw: bytes) -> None:
    with smtp(sandbox) as client:
        client.sendmail("shop@example.org", ["ann@example.org"], raw)
    (mail,) = mails(sandbox)
    opened = sandbox.control("GET", f"mail/{mail['id']}")
    assert opened["id"] == mail["id"]
    for n in range(len(opened["attachments"])):
        assert sandbox.session.get(f"{sandbox.url}/_sandbox/mail/{mail['id']}/attachments/{n}").ok
    for kind in ("bounce", "complaint"):
        assert sandbox.session.post(f"{sandbox.url}/_sandbox/mail/{mail['id']}/{kind}").ok


def test_a_bounce_is_a_delivery_status_notification(sandbox: Sandbox, receiver: Receiver) -> None:
    send(sandbox, letter(Message_ID="<1@example.org>"))
    mail_id = mails(sandbox)[0]["id"]
    wanted = {"status": "5.2.2", "diagnostic": "552 5.2.2 Mailbox full"}
    made = sandbox.session.post(f"{sandbox.url}/_sandbox/mail/{mail_id}/bounce", json=wanted)
    assert made.headers["Content-Type"] == "message/rfc822"
    report = email.message_from_bytes(made.content, policy=email.policy.default)
    assert (report.get_content_type(), report.get_param("report-type")) == ("multipart/report", "delivery-status")
    assert report["To"] == "shop@example.org"
    _, status, original = report.iter_parts()
    per_message, per_recipient = status.get_payload()
    assert per_message["Reporting-MTA"] == "dns; mail.sandbox.example"
    assert (per_recipient["Action"], per_recipient["Status"]) == ("failed", "5.2.2")
    assert per_recipient["Final-Recipient"] == "rfc822; ann@example.org"
    assert per_recipient["Diagnostic-Code"] == "smtp; 552 5.2.2 Mailbox full"
    assert original.get_payload()[0]["Message-ID"] == "<1@example.org>"
    posted = sandbox.control("POST", f"mail/{mail_id}/bounce", wanted | {"url": receiver.url})
    assert posted["status"] == 200
    headers, body, _ = receiver.requests[0]
    assert headers["Content-Type"] == "message/rfc822" and b"Status: 5.2.2" in body
    for bad in ({"action": "lost"}, {"status": "550"}, {"recipient": "a\nb: c"}, {"url": "x"}, {"hat": 1}):
        sandbox.control("POST", f"mail/{mail_id}/bounce", bad, status=400)


def test_a_complaint_is_an_abuse_report(sandbox: Sandbox) -> None:
    send(sandbox, letter(Message_ID="<1@example.org>"))
    made = sandbox.session.post(f"{sandbox.url}/_sandbox/mail/{mails(sandbox)[0]['id']}/complaint", json={})
    report = email.message_from_bytes(made.content, policy=email.policy.default)
    assert (report.get_content_type(), report.get_param("report-type")) == ("multipart/report", "feedback-report")
    _, feedback, original = report.iter_parts()
    assert feedback.get_content_type() == "message/feedback-report"
    text = feedback.as_string()
    assert "Feedback-Type: abuse" in text and "Original-Rcpt-To: <ann@example.org>" in text
    assert "Version: 1" in text
    assert original.get_payload()[0]["Message-ID"] == "<1@example.org>"


def test_what_was_taken_outlives_a_kill(own: Sandbox, receiver: Receiver) -> None:
    own.control(
        "PUT",
        "gateways",
        {"sms": {"callback_url": receiver.url, "token": "t1"}, "smtp": {"user": "u", "password": "p"}},
    )
    own.control("PATCH", "gateways", {"smtp": {"user": None, "password": None}})
    own.control("PUT", "hooks/orders", {"statuses": [500, 503], "secret": "whsec_MDEy"})
    own.session.post(f"{own.url}/hooks/orders", json={"n": 1})
    receiver.status = 503
    sent = own.gateway("sms/send-sms", {"to": "+15550001111", "message": "x", "idempotencyKey": "k"}, "t1").json()
    send(own, letter(Message_ID="<1@example.org>"))
    wait_for(lambda: receiver.requests, "a refused receipt")
    before = [own.control("GET", path) for path in ("mail", "hooks", "gateways", "faults")]
    own.kill()
    receiver.reset()
    own.start()
    assert [own.control("GET", path) for path in ("mail", "hooks", "gateways", "faults")] == before
    own.quiet()
    assert {body["messageId"] for body in receiver.bodies()} == {sent["messageId"]}
    assert (
        own.gateway("sms/send-sms", {"to": "+15550001111", "message": "x", "idempotencyKey": "k"}, "t1").json() == sent
    )
    send(own, letter(Message_ID="<1@example.org>"))
    assert own.session.post(f"{own.url}/hooks/orders", json={"n": 2}).status_code == 503
    duplicates = own.stats()["duplicates_by_kind"]
    assert (duplicates["sms"], duplicates["smtp"]) == (1, 1)
