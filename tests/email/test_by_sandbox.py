"""Every channel against the sandbox, by our own clients and a real worker: as in `make run`, from the send to the
receipt, the mailbox and the bounce."""

import dataclasses
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from crm_tasks.config import Settings, settings
from crm_tasks.contacts.models import Suppression
from crm_tasks.core import db
from crm_tasks.email.service import accept
from crm_tasks.messages.models import Category, Message, MessageState
from crm_tasks.messages.service.outbox import NewMessage
from crm_tasks.stack import demo as demo_channels
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel
from tests.core.conftest import end, started
from tests.fixtures import Demo, make_demo
from tests.harness import Program, beat, eventually, worker
from tests.messages.apply import one, rows
from tests.messages.conftest import QUICK
from tests.messages.outgoing import ANN, post, until
from tests.outside import Sandbox, Site

TWILIO = "AC" + "5a" * 16
PERSON = "ann@example.org"


@pytest.fixture(scope="module")
def workers(stores: None, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A worker that tells gateways where the web app of the tests is, and a scheduler."""
    log = tmp_path_factory.mktemp("by-sandbox")
    env = QUICK | {"PUBLIC_URL": f"http://127.0.0.1:{ports[0]}", "QUEUE_EMAIL_BACKOFF": "0.2"}
    programs = [beat(log, **env), worker(log, "email", "messages", name="channels", **env)]
    try:
        yield [started(program) for program in programs][-1]
    finally:
        end(programs)


@pytest.fixture
def shop(sandbox: Sandbox, web: Site, workers: Program) -> Demo:
    """A business whose number is the sandbox's."""
    return make_demo(base_url=sandbox.url)


def channel(shop: Demo, kind: str, base_url: str = "", **values: str) -> Demo:
    """Return the business with another channel in the place of its number."""
    new = workspaces.NewChannel(kind=kind, name=kind, values=values, base_url=base_url)
    with db.transaction() as session:
        made = workspaces.add_channel(session, shop.workspace_id, new)
    return dataclasses.replace(shop, channel_id=made.id)


def sms(shop: Demo, sandbox: Sandbox) -> Demo:
    own = {"token": shop.access_token, "callback_secret": shop.app_secret}
    return channel(shop, "sms", f"{sandbox.url}/sms", **own)


def twilio(shop: Demo, sandbox: Sandbox) -> Demo:
    own = {"account_sid": TWILIO, "auth_token": shop.access_token, "from": "+15550783882"}
    return channel(shop, "twilio", f"{sandbox.url}/twilio", **own)


def smtp(shop: Demo, sandbox: Sandbox, security: str = "starttls") -> Demo:
    at = sandbox.control("GET", "gateways")["smtp"]
    own = {"host": at["host"], "port": str(at["port"]), "security": security, "from_address": "shop@example.com"}
    return channel(shop, "smtp", cafile=at["certificate"], callback_secret=shop.app_secret, **own)


def by_gateway(shop: Demo, sandbox: Sandbox) -> Demo:
    own = {"access_token": shop.access_token, "from_address": "shop@example.com", "callback_secret": shop.app_secret}
    return channel(shop, "email_api", f"{sandbox.url}/email", **own)


def write(shop: Demo, subject: str, **more: Any) -> Message:
    """Accept an e-mail."""
    new = NewMessage(type="email", content={"subject": subject, "html": f"<p>{subject}</p>"}, **more)
    with db.transaction() as session:
        return accept.send_to(session, shop.workspace_id, shop.channel_id, PERSON, new)


def mails(sandbox: Sandbox) -> list[dict[str, Any]]:
    return sandbox.control("GET", f"mail?to={PERSON}")["data"]


@pytest.mark.parametrize("kind", ["sms", "twilio"])
def test_a_text_is_delivered_and_the_answer_of_its_person_comes_back(
    shop: Demo, sandbox: Sandbox, web: Site, kind: str
) -> None:
    mine = {"sms": sms, "twilio": twilio}[kind](shop, sandbox)
    sent = until(post(mine, "Hé, Ann"), MessageState.DELIVERED)
    (entry,) = sandbox.log(kind)
    assert entry["message_id"] == sent.provider_id
    assert (sent.sent_at is not None, sent.error, sent.parts) == (True, None, 1)
    there = f"{web.url}/webhooks/sms/{mine.channel_id}"
    sandbox.control("POST", "sms/inbound", {"from": ANN, "message": "Yes!", "gateway": kind, "url": there})
    eventually(lambda: rows(Message, Message.direction == "in", Message.text == "Yes!"), "the answer is heard", 30)


@pytest.mark.parametrize("kind", ["sms", "twilio"])
def test_a_text_that_the_gateway_took_and_could_not_deliver_says_why(shop: Demo, sandbox: Sandbox, kind: str) -> None:
    sandbox.faults({"match": {"kind": kind}, "action": {"status_code": 30003}})
    mine = {"sms": sms, "twilio": twilio}[kind](shop, sandbox)
    failed = until(post(mine, "Hello"), MessageState.FAILED)
    assert failed.error is not None
    assert failed.error["code"] == 30003
    assert len(sandbox.log(kind)) == 1


def test_a_mail_arrives_is_shown_on_the_mailbox_page_and_its_bounce_ends_it(
    shop: Demo, sandbox: Sandbox, web: Site
) -> None:
    mine = smtp(shop, sandbox)
    sent = until(write(mine, "Spring", category=Category.MARKETING).id, MessageState.ACCEPTED)
    (mail,) = mails(sandbox)
    assert (mail["subject"], mail["rcpt_to"]) == ("Spring", [PERSON])
    raw = sandbox.http.get(f"{sandbox.url}/_sandbox/mail/{mail['id']}/raw", timeout=10).text
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in raw
    page = sandbox.http.get(f"{sandbox.url}/mail", timeout=10)
    assert page.ok and "text/html" in page.headers["Content-Type"]

    there = f"{web.url}/webhooks/email/{mine.channel_id}/dsn"
    said = sandbox.control("POST", f"mail/{mail['id']}/bounce", {"status": "5.1.1", "url": there})
    assert said["status"] == 200
    assert (until(sent.id, MessageState.FAILED).error or {})["code"] == "5.1.1"
    assert one(Suppression).address == PERSON
    until(write(mine, "Again", category=Category.MARKETING).id, MessageState.SUPPRESSED)
    assert len(mails(sandbox)) == 1


def test_a_server_that_wants_a_login_and_encryption_gets_both(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.control("PATCH", "gateways", {"smtp": {"user": "crm", "password": "p", "starttls": "required"}})
    try:
        mine = smtp(shop, sandbox)
        with db.transaction() as session:
            row = session.get_one(Channel, mine.channel_id)
            row.settings = {**row.settings, "user": "crm"}
            row.credentials = {**row.credentials, "password": "p"}
        until(write(mine, "Hello").id, MessageState.ACCEPTED)
        (mail,) = mails(sandbox)
        assert mail["subject"] == "Hello"
    finally:
        sandbox.control("PUT", "gateways", {})


def test_a_mail_by_the_gateway_is_delivered_and_a_complaint_ends_it(shop: Demo, sandbox: Sandbox) -> None:
    mine = by_gateway(shop, sandbox)
    sent = until(write(mine, "Hello").id, MessageState.DELIVERED)
    (entry,) = sandbox.log("email")
    assert entry["message_id"] == sent.provider_id
    sandbox.control("POST", f"messages/{sent.provider_id}/status", {"status": "complained"})
    eventually(lambda: rows(Suppression), "a complaint is kept", 30)
    assert (one(Suppression).reason, one(Suppression).address) == ("complaint", PERSON)


def test_a_dead_gateway_and_a_server_that_hangs_up_lose_nothing(shop: Demo, sandbox: Sandbox) -> None:
    sandbox.faults({"match": {"kind": "smtp"}, "action": {"status": 451}, "times": 1})
    until(write(smtp(shop, sandbox), "Later").id, MessageState.ACCEPTED)
    assert [mail["subject"] for mail in mails(sandbox)] == ["Later"]


def seeded(sandbox: Sandbox, shop: Demo, **changed: Any) -> dict[str, Any]:
    """Make the channels of a first start whose sandbox is that of the tests."""
    with db.transaction() as session:
        workspace = workspaces.get(session, shop.workspace_id)
        return demo_channels.channels(session, workspace, config_of(sandbox, shop, **changed))


def config_of(sandbox: Sandbox, shop: Demo, **changed: Any) -> Settings:
    values = {
        "sandbox_port": int(sandbox.url.rpartition(":")[2]),
        "sandbox_smtp_port": sandbox.control("GET", "gateways")["smtp"]["port"],
        "sandbox_phone_number_id": shop.phone_number_id,
        "sandbox_access_token": shop.access_token,
        "sandbox_app_secret": shop.app_secret,
    }
    return dataclasses.replace(settings(), **(values | changed))


def test_the_channels_of_a_first_start_send_and_are_told_what_became_of_it(shop: Demo, sandbox: Sandbox) -> None:
    made = seeded(sandbox, shop)
    assert made["channel_id"] == str(shop.channel_id)  # the number had its channel
    by_sms = dataclasses.replace(shop, channel_id=uuid.UUID(made["sms_channel_id"]))
    by_mail = dataclasses.replace(shop, channel_id=uuid.UUID(made["email_channel_id"]))
    until(post(by_sms, "Hello"), MessageState.DELIVERED)
    until(write(by_mail, "Hello").id, MessageState.ACCEPTED)
    assert [mail["from"] for mail in mails(sandbox)] == ["Sandbox Shop <shop@sandbox.example>"]


def test_they_move_with_the_sandbox_and_a_server_of_ones_own_stays(shop: Demo, sandbox: Sandbox) -> None:
    made = seeded(sandbox, shop, sandbox_port=1, sandbox_smtp_port=2)
    by_mail = dataclasses.replace(shop, channel_id=uuid.UUID(made["email_channel_id"]))
    by_sms = dataclasses.replace(shop, channel_id=uuid.UUID(made["sms_channel_id"]))
    with db.transaction() as session:
        demo_channels.move(session, config_of(sandbox, shop), made)
    until(post(by_sms, "Hello"), MessageState.DELIVERED)
    until(write(by_mail, "Hello").id, MessageState.ACCEPTED)
    with db.transaction() as session:
        row = session.get_one(Channel, by_mail.channel_id)
        row.settings = {**row.settings, "host": "mail.example.com"}
    with db.transaction() as session:
        demo_channels.move(session, config_of(sandbox, shop, sandbox_smtp_port=3), made)
        assert session.get_one(Channel, by_mail.channel_id).settings["port"] != "3"
