"""The pages of tests: a form for each medium, and what was said to the provider and by it, without secrets."""

import time
import uuid
from typing import Any

import pytest
from flask import Flask

from crm_tasks.core import db
from crm_tasks.messages.models import Direction, Message, MessageState
from crm_tasks.messages.service import trying
from crm_tasks.webhooks.models import Delivery
from crm_tasks.workspaces import service as workspaces
from tests import payloads
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.messages.apply import hear, one, rows
from tests.messages.outgoing import ANN, fault, post
from tests.outside import Sandbox
from tests.prove.healthy import open_account
from tests.webapp.admins import Browser, browser
from tests.webhooks.hooks import add, work_off
from tests.webhooks.receiver import Answer, receiver

HELLO = {"type": "text", "body": "Hello from the page"}


@pytest.fixture
def shop(empty: None, sandbox: Sandbox) -> Demo:
    """A business whose channels are the sandbox's, which sends no statuses."""
    sandbox.quiet()
    made = make_demo(base_url=sandbox.url)
    open_account()
    return made


@pytest.fixture
def ann(app: Flask, shop: Demo) -> Browser:
    """An admin who is logged in."""
    return browser(app, shop, "admin")


def channel(shop: Demo, kind: str, base_url: str, **values: Any) -> uuid.UUID:
    new = workspaces.NewChannel(kind=kind, name=f"My {kind}", values=values, base_url=base_url)
    with db.transaction() as session:
        made = workspaces.add_channel(session, shop.workspace_id, new).id
    open_account()
    return made


def sent(who: Browser, **form: str) -> str:
    """Send a test and have its jobs run; return the path of its page."""
    answer = who.post("/test", **form)
    assert answer.status_code == 302, answer.text[-3000:]
    work_off()
    return answer.location.removeprefix("/admin")


def open_window(shop: Demo) -> None:
    hear(shop, payloads.text("Hi", at=int(time.time())))


def test_what_went_to_whatsapp_and_came_back_is_shown_without_the_token(shop: Demo, ann: Browser) -> None:
    open_window(shop)
    path = sent(ann, medium="whatsapp", channel_id=str(shop.channel_id), to=ANN, **HELLO)
    message = one(Message, Message.author == trying.AUTHOR)
    assert (message.state, path) == ("accepted", f"/test/messages/{message.id}")
    page = ann.text(path)
    assert f"/{shop.phone_number_id}/messages" in page and "Hello from the page" in page
    assert "HTTP 200" in page and "wamid." in page and "messaging_product" in page
    assert shop.access_token not in page and "•••" in page
    assert "message accepted from the caller" in page and "text by test" in page
    assert shop.access_token not in str(message.raw)
    assert "every 1s" in page
    execute("UPDATE messages SET state = 'delivered' WHERE id = :id", id=message.id)
    assert "every 1s" not in ann.text(f"{path}/part")


def test_what_is_no_test_is_kept_without_what_was_said(shop: Demo, ann: Browser) -> None:
    open_window(shop)
    post(shop)
    work_off()
    message = one(Message, Message.direction == Direction.OUT)
    assert (message.state, message.raw) == ("accepted", None)
    assert ann.get(f"/test/messages/{message.id}").status_code == 404


def test_a_no_is_shown_with_the_providers_own_words(shop: Demo, ann: Browser, sandbox: Sandbox) -> None:
    open_window(shop)
    sandbox.faults(fault(status=400, error_code=131026, times=1))
    page = ann.text(sent(ann, medium="whatsapp", channel_id=str(shop.channel_id), to=ANN, **HELLO))
    assert "HTTP 400" in page and "131026" in page and "every 1s" not in page


def test_a_provider_that_is_not_there_is_said_to_be(shop: Demo, ann: Browser) -> None:
    channel_id = channel(shop, "sms", "http://127.0.0.1:9", token="very-secret-token")
    page = ann.text(sent(ann, medium="sms", channel_id=str(channel_id), to=ANN, body="Hi"))
    assert "No answer: NotSent" in page and "It waits" in page and "every 1s" in page


def test_an_sms_goes_to_its_gateway(shop: Demo, ann: Browser, sandbox: Sandbox) -> None:
    token = shop.access_token
    channel_id = channel(shop, "sms", f"{sandbox.url}/sms", token=token)
    page = ann.text(sent(ann, medium="sms", channel_id=str(channel_id), to=ANN, body="Hi"))
    assert "POST " in page and "/sms/send-sms" in page and "&#34;message&#34;: &#34;Hi&#34;" in page
    assert token not in page and "HTTP 20" in page


def test_a_mail_shows_each_step_of_the_dialogue(shop: Demo, ann: Browser, sandbox: Sandbox) -> None:
    channel_id = channel(
        shop, "email_api", f"{sandbox.url}/email", access_token="x" * 20, from_address="shop@example.com"
    )
    form = {"channel_id": str(channel_id), "to": "ann@example.org", "subject": "A test", "text": "Is it there?"}
    page = ann.text(sent(ann, medium="email", **form))
    assert "/email/send-email" in page and "Is it there?" in page and "x" * 20 not in page


def test_the_dialogue_with_a_mail_server_is_shown_step_by_step(shop: Demo, ann: Browser, sandbox: Sandbox) -> None:
    at = sandbox.control("GET", "gateways")["smtp"]
    own = {"host": at["host"], "port": str(at["port"]), "security": "starttls", "from_address": "shop@example.com"}
    channel_id = channel(shop, "smtp", "", cafile=at["certificate"], **own)
    form = {"channel_id": str(channel_id), "to": "ann@example.org", "subject": "A test", "text": "Is it there?"}
    page = ann.text(sent(ann, medium="email", **form))
    assert "SMTP 127.0.0.1:" in page and "Subject: A test" in page
    for step in ("connecting: 250", "naming the recipient: 250", "sending the message: 250"):
        assert step in page


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"medium": "sms", "to": "12", "body": "Hi"}, "is-invalid"),
        ({"medium": "sms", "to": "", "body": "Hi"}, "Give a phone number"),
        ({"medium": "sms", "to": ANN, "body": ""}, "is-invalid"),
        ({"medium": "sms", "to": ANN, "body": "Hi", "channel_id": "x"}, "This is not a channel"),
        ({"medium": "sms", "to": ANN, "body": "Hi", "channel_id": str(uuid.UUID(int=4))}, "There is no channel"),
        ({"medium": "whatsapp", "to": ANN, "type": "text", "body": "Hi"}, "24"),
        ({"medium": "whatsapp", "to": ANN, "type": "template", "template": ""}, "alert-danger"),
        ({"medium": "email", "to": ANN, "subject": "s", "text": "t"}, "Use one of: text"),
        ({"medium": "moon", "to": ANN}, "is-invalid"),
        ({}, "is-invalid"),
    ],
)
def test_what_cannot_be_sent_is_said_in_the_form(shop: Demo, ann: Browser, form: dict[str, str], said: str) -> None:
    channel_id = channel(shop, "sms", "http://127.0.0.1:9", token="very-secret-token")
    whose = {"sms": channel_id, "whatsapp": shop.channel_id}.get(form.get("medium", ""), channel_id)
    answer = ann.post("/test", **{"channel_id": str(whose), **form})
    assert (answer.status_code, said in answer.text) == (422, True)
    assert rows(Message) == []


def test_an_event_goes_to_an_endpoint_and_its_answer_is_shown(shop: Demo, ann: Browser) -> None:
    assert "No webhook is enabled" in ann.text("/test?medium=webhook")
    with receiver(Answer(status=500, body=b"not now"), Answer(body=b"thank you")) as hook:
        made = add(shop, f"http://127.0.0.1:{hook.server_port}/hook")
        assert made.url in ann.text("/test?medium=webhook")
        answer = ann.post("/test/webhook", endpoint_id=str(made.id))
        delivery = one(Delivery)
        path = f"/settings/webhooks/deliveries/{delivery.id}"
        assert (answer.status_code, answer.location) == (302, f"/admin{path}")
        assert "every 2s" in ann.text(path)
        work_off()
        assert "500" in ann.text(path) and "not now" in ann.text(path)
        execute("UPDATE jobs SET run_at = now()")
        work_off()
        page = ann.text(path)
    assert "thank you" in page and "every 2s" not in page and "webhook.test" in page and made.secret not in page
    assert hook.types() == ["webhook.test", "webhook.test"]


@pytest.mark.parametrize("wrong", ["", "x", str(uuid.UUID(int=4))])
def test_an_endpoint_that_is_none_is_refused(shop: Demo, ann: Browser, wrong: str) -> None:
    assert ann.post("/test/webhook", endpoint_id=wrong).status_code == (404 if wrong.startswith("0") else 422)


def test_who_may_not_set_up_webhooks_has_no_tab_for_them(app: Flask, shop: Demo) -> None:
    agent = browser(app, shop, "agent")
    assert "Webhook" not in agent.text("/test").split("nav-tabs")[1].split("</ul>")[0]
    assert 'value="whatsapp"' in agent.text("/test?medium=webhook")
    assert MessageState.DELIVERED in trying.FINAL
