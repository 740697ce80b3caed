"""Telling targets: a webhook that anybody's library verifies, a mail that a real server takes."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from standardwebhooks import Webhook, WebhookVerificationError

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.notifications import service, targets, tasks
from crm_tasks.notifications.models import NotificationTarget, Severity, TargetKind
from crm_tasks.providers import alert_mail
from tests.fixtures import Demo
from tests.harness import free_ports

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")


class Hook:
    """A receiver of webhooks that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((dict(self.headers.items()), body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()


def told(demo: Demo, target: NotificationTarget) -> None:
    """Tell of something, and deliver it as the task does."""
    with db.transaction() as session:
        made = service.notify(
            session,
            demo.workspace_id,
            "channel.stopped",
            title="Ümlaut stopped",
            text="Line one.\nTell <b>somebody</b>.",
            severity=Severity.ERROR,
            subject="channel:1",
            link="/admin/",
        )
    tasks.deliver.run(str(made), str(target.id))


def webhook(demo: Demo, url: str) -> NotificationTarget:
    return db.retrying(targets.add, demo.workspace_id, kind=TargetKind.WEBHOOK, address=url)


def test_a_webhook_is_signed_as_the_standard_says(demo: Demo, hook: Hook) -> None:
    target = webhook(demo, hook.url)
    told(demo, target)
    ((headers, body),) = hook.got
    assert target.secret is not None
    found = Webhook(target.secret).verify(body, headers)
    assert found["type"] == "notification.channel.stopped"
    assert found["data"]["title"] == "Ümlaut stopped"
    assert (found["data"]["count"], found["data"]["severity"]) == (1, "error")
    with pytest.raises(WebhookVerificationError):
        Webhook(targets._new_secret()).verify(body, headers)


def test_each_try_has_the_same_id(demo: Demo, hook: Hook) -> None:
    target = webhook(demo, hook.url)
    hook.status = 500
    for _ in range(2):
        with pytest.raises(Transient):
            told(demo, target)
    assert len({headers["Webhook-Id"] for headers, _ in _canonical(hook)}) == 1


def _canonical(hook: Hook) -> list[tuple[dict[str, str], bytes]]:
    return [({name.title(): value for name, value in headers.items()}, body) for headers, body in hook.got]


def test_a_webhook_that_is_not_there_is_tried_again(demo: Demo) -> None:
    (port,) = free_ports(1)
    with pytest.raises(Transient, match="did not answer"):
        told(demo, webhook(demo, f"http://127.0.0.1:{port}/"))


def test_a_target_that_is_gone_or_off_is_not_told(demo: Demo, hook: Hook) -> None:
    target = webhook(demo, hook.url)
    with db.transaction() as session:
        targets.change(session.get_one(NotificationTarget, target.id), enabled=False)
    told(demo, target)
    with db.transaction() as session:
        session.delete(session.get_one(NotificationTarget, target.id))
    told(demo, target)
    assert hook.got == []


def test_no_secret_is_shown(demo: Demo, hook: Hook) -> None:
    target = webhook(demo, hook.url)
    with db.transaction() as session:
        made = service.notify(session, demo.workspace_id, "a", title="t", text="t", severity=Severity.ERROR)
        found = service.delivery(session, made, target.id)
    assert found is not None
    assert target.secret not in repr(found) + repr(target)


# --- e-mail ------------------------------------------------------------------------------------------------------


class Mailbox:
    """A mail server's handler that keeps what it takes."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.answer = "250 taken"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answer.startswith("250"):
            self.got.append(envelope)
        return self.answer


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    handler = Mailbox()
    (port,) = free_ports(1)

    def known(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=given == LoginPassword(b"a b", b"p@ss"))

    controller = Controller(
        handler, hostname="127.0.0.1", port=port, authenticator=known, auth_required=True, auth_require_tls=False
    )
    controller.start()
    mailing = replace(
        settings(),
        alert_smtp_url=f"smtp://a%20b:p%40ss@127.0.0.1:{port}",
        alert_from="CRM <crm@example.com>",
        public_url="https://crm.example.com",
    )
    monkeypatch.setattr(alert_mail, "settings", lambda: mailing)
    monkeypatch.setattr(targets, "settings", lambda: mailing)
    yield handler
    controller.stop()


def mail(demo: Demo) -> NotificationTarget:
    return db.retrying(targets.add, demo.workspace_id, kind=TargetKind.EMAIL, address="ann@example.test")


def test_a_mail_says_what_happened_and_where_to_look(demo: Demo, mailbox: Mailbox) -> None:
    target = mail(demo)
    told(demo, target)
    told(demo, target)
    first, second = mailbox.got
    assert first.rcpt_tos == ["ann@example.test"]
    text = first.content.decode()
    assert "From: CRM <crm@example.com>" in text
    assert "Auto-Submitted: auto-generated" in text
    assert "Line one." in text
    assert "https://crm.example.com/admin/" in text
    assert _header(first, "Message-ID") == _header(second, "Message-ID")
    assert "This has happened 2 times" in second.content.decode()


def _header(envelope: Any, name: str) -> str:
    lines = envelope.content.decode().splitlines()
    return next(line for line in lines if line.lower().startswith(name.lower()))


@pytest.mark.parametrize(("answer", "error"), [("451 later", Transient), ("554 never", Permanent)])
def test_later_is_tried_again_and_never_is_not(
    demo: Demo, mailbox: Mailbox, answer: str, error: type[Exception]
) -> None:
    mailbox.answer = answer
    with pytest.raises(error) as raised:
        told(demo, mail(demo))
    assert "ann@" not in str(raised.value)


def test_a_wrong_password_tells_no_secret(
    demo: Demo, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = mail(demo)
    wrong = replace(alert_mail.settings(), alert_smtp_url=alert_mail.settings().alert_smtp_url.replace("p%40", "q%40"))
    monkeypatch.setattr(alert_mail, "settings", lambda: wrong)
    with pytest.raises((Permanent, Transient)) as raised:
        told(demo, target)
    assert mailbox.got == []
    assert "q@ss" not in json.dumps([str(raised.value), repr(wrong), caplog.text])


def test_without_a_mail_server_nobody_can_ask_for_mail(demo: Demo) -> None:
    from crm_tasks.core.errors import Invalid

    with pytest.raises(Invalid) as raised:
        mail(demo)
    assert "ALERT_SMTP_URL" in raised.value.hint
