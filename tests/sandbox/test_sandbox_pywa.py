"""pywa, a real client, pointed at the sandbox: what it sends is accepted, and what the sandbox emits it accepts."""

import threading
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playground import CUSTOMER, NUMBER, SECRET, TOKEN, WABA, Receiver, Sandbox, wait_for

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pywa
    from pywa import types
    from pywa.errors import WhatsAppError
    from pywa.types import templates as tpl

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 64


class Redirected(httpx.BaseTransport):
    """Sends what is meant for graph.facebook.com to the sandbox."""

    def __init__(self, port: int) -> None:
        self.inner = httpx.HTTPTransport()
        self.port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self.port)
        request.headers["Host"] = f"127.0.0.1:{self.port}"
        return self.inner.handle_request(request)


@pytest.fixture
def wa(sandbox: Sandbox) -> Iterator[Any]:
    with httpx.Client(transport=Redirected(sandbox.port)) as session:
        yield pywa.WhatsApp(
            phone_id=NUMBER,
            token=TOKEN,
            session=session,
            server=None,
            app_secret=SECRET,
            waba_id=WABA,
            verify_token="x",
        )


def test_every_kind_of_message_is_sent(wa: Any, sandbox: Sandbox) -> None:
    said = sandbox.inbound()
    buttons = [types.Button(title="Yes", callback_data="ok"), types.Button(title="No", callback_data="no")]
    rows = [types.SectionRow(title="Row 1", callback_data="r1", description="first")]
    sent = [
        wa.send_message(to=CUSTOMER, text="Hi", preview_url=True, tracker="o1", reply_to_message_id=said),
        wa.send_message(to=CUSTOMER, text="Confirm?", header="Order", footer="Shop", buttons=buttons),
        wa.send_message(
            to=CUSTOMER,
            text="Pick",
            buttons=types.SectionList(button_title="Open", sections=[types.Section(title="A", rows=rows)]),
        ),
        wa.send_message(to=CUSTOMER, text="Track", buttons=types.URLButton(title="Open", url="https://x.example.test")),
        wa.send_image(to=CUSTOMER, image=PNG, mime_type="image/png", caption="Look"),
        wa.send_image(to=CUSTOMER, image="https://cdn.example.test/a.jpg"),
        wa.send_document(to=CUSTOMER, document=b"%PDF", filename="i.pdf", mime_type="application/pdf"),
        wa.send_video(to=CUSTOMER, video="https://cdn.example.test/a.mp4"),
        wa.send_voice(to=CUSTOMER, voice=b"OggS", mime_type="audio/ogg"),
        wa.send_sticker(to=CUSTOMER, sticker=b"RIFFWEBP", mime_type="image/webp"),
        wa.send_location(to=CUSTOMER, latitude=1.5, longitude=2.5, name="Depot", address="1 Test Rd"),
        wa.request_location(to=CUSTOMER, text="Where?"),
        wa.send_contact(
            to=CUSTOMER,
            contact=types.Contact(
                name=types.Contact.Name(formatted_name="Ann Bo", first_name="Ann"),
                phones=[types.Contact.Phone(phone="+15550002222")],
            ),
        ),
        wa.send_reaction(to=CUSTOMER, emoji="👍", message_id=said),
        wa.remove_reaction(to=CUSTOMER, message_id=said),
    ]
    assert len({message.id for message in sent}) == len(sent)
    assert all(message.id.startswith("wamid.") for message in sent)
    assert sandbox.stats()["accepted"] == len(sent)
    assert sandbox.log("message")[0]["biz_opaque_callback_data"] == "o1"


def test_a_template_is_sent(wa: Any, sandbox: Sandbox) -> None:
    sent = wa.send_template(
        to=CUSTOMER,
        name="order_update",
        language=tpl.TemplateLanguage.ENGLISH_US,
        params=[
            tpl.BodyText.params("Ann", "A-100"),
            tpl.QuickReplyButton.params(callback_data="where", index=0),
        ],
    )
    assert sent.id.startswith("wamid.")
    assert sandbox.log("message")[0]["body"]["template"]["components"]


def test_receipts_typing_and_blocks(wa: Any, sandbox: Sandbox) -> None:
    said = sandbox.inbound()
    assert wa.mark_message_as_read(message_id=said)
    assert wa.indicate_typing(message_id=said)
    blocked = wa.block_users(users=[CUSTOMER])
    assert blocked.added_users
    assert wa.get_blocked_users()
    assert wa.unblock_users(users=[CUSTOMER]).removed_users
    assert [entry["kind"] for entry in sandbox.log("read,typing")] == ["read", "typing"]


def test_management(wa: Any) -> None:
    assert wa.get_business_phone_number().display_phone_number == "+1 555 078 3881"
    assert wa.update_business_profile(about="Bags and belts")
    assert wa.get_business_profile().about == "Bags and belts"
    found = wa.get_templates()
    assert found.total_count > 5
    assert "order_update" in [template.name for template in found]
    made = wa.create_template(
        template=tpl.Template(
            name="made_by_pywa",
            category=tpl.TemplateCategory.UTILITY,
            language=tpl.TemplateLanguage.ENGLISH_US,
            components=[tpl.BodyText("Hello {{1}}, welcome.", "Ann")],
        )
    )
    assert made.status == tpl.TemplateStatus.PENDING
    assert wa.delete_template(template_name="made_by_pywa")


def test_media_makes_the_round(wa: Any) -> None:
    media = wa.upload_media(media=PNG, mime_type="image/png", filename="a.png")
    found = wa.get_media_url(media_id=media.id)
    assert wa.get_media_bytes(url=found.url) == PNG
    assert wa.delete_media(media_id=media.id)


def test_errors_carry_metas_code(wa: Any, sandbox: Sandbox) -> None:
    with pytest.raises(WhatsAppError) as same:
        wa.send_message(to="+15550783881", text="me")
    assert same.value.code == 131021
    sandbox.fault(match={"kind": "message"}, action={"status": 429, "error_code": 131056})
    with pytest.raises(WhatsAppError) as pair:
        wa.send_message(to=CUSTOMER, text="x")
    assert pair.value.code == 131056


def test_what_the_sandbox_emits_is_signed_and_understood(wa: Any, sandbox: Sandbox, receiver: Receiver) -> None:
    heard: list[Any] = []
    arrived = threading.Event()

    def hear(_: Any, update: Any) -> None:
        heard.append(update)
        if len(heard) == 6:
            arrived.set()

    for handler in (pywa.handlers.MessageHandler, pywa.handlers.MessageStatusHandler):
        wa.add_handlers(handler(hear))
    for handler in (pywa.handlers.CallbackButtonHandler, pywa.handlers.CallbackSelectionHandler):
        wa.add_handlers(handler(hear))
    sandbox.inbound("Olá, é você?", name="Zoë", user_id="BR.77")
    reply = {"id": "ok", "title": "Yes"}
    context = {"id": sandbox.send(), "from": "15550783881"}
    wait_for(lambda: len(receiver.status_updates()) == 3, "the statuses")
    for kind in ("button_reply", "list_reply"):
        sandbox.inbound(type="interactive", text=None, interactive={"type": kind, kind: reply}, context=context)
    for headers, body, _ in receiver.requests:
        assert wa.webhook_update_validator(body, headers["X-Hub-Signature-256"]) is None
        assert wa.webhook_update_validator(body + b" ", headers["X-Hub-Signature-256"]) is not None
        assert wa.webhook_update_handler(body) == ("ok", 200)
    wait_for(lambda: len(heard) == 6, "six updates")
    names = sorted(type(update).__name__ for update in heard)
    assert names == sorted(["Message", "CallbackButton", "CallbackSelection", *["MessageStatus"] * 3])
    message = next(update for update in heard if type(update).__name__ == "Message")
    assert (message.text, message.from_user.name, message.from_user.wa_id) == ("Olá, é você?", "Zoë", "15550001111")
    statuses = {str(update.status.value) for update in heard if type(update).__name__ == "MessageStatus"}
    assert statuses == {"sent", "delivered", "read"}
