"""The chat page's JSON: customers somebody plays, and what the web app hears of them."""

from typing import Any

import pytest
from playground import NUMBER, Receiver, Sandbox, wait_for


def add(sandbox: Sandbox, **facts: Any) -> Any:
    return sandbox.control(
        "POST", "chat/customers", {"name": "Ann Bo", "phone": "+1 555 000 1111", **facts}, status=201
    )


def say(sandbox: Sandbox, key: str, **message: Any) -> str:
    return sandbox.control("POST", "chat/messages", {"customer": key, **message}, status=201)["id"]


def state(sandbox: Sandbox, key: str = "", visible: bool = False, since: int = 0) -> Any:
    return sandbox.control("GET", f"chat/state?open={key}&since={since}{'&visible=1' if visible else ''}")


def test_a_played_customer_reads_by_looking(sandbox: Sandbox, receiver: Receiver) -> None:
    key = add(sandbox)["key"]
    message_id = sandbox.send()
    sandbox.quiet()
    assert receiver.names(message_id) == ["sent", "delivered"]
    assert state(sandbox, key)["customers"][0]["unread"] == 1
    assert state(sandbox, key, visible=True)["customers"][0]["unread"] == 0
    wait_for(lambda: receiver.names(message_id)[-1] == "read", "the read status")


def test_own_messages_get_their_ticks(sandbox: Sandbox, receiver: Receiver) -> None:
    key = add(sandbox)["key"]
    receiver.status = 500
    message_id = say(sandbox, key, type="text", text={"body": "Hi"})
    assert state(sandbox, key)["chat"]["messages"][0]["state"] == "sending"
    receiver.status = 200
    sandbox.control("POST", "webhooks/retry")
    sandbox.quiet()
    assert state(sandbox, key)["chat"]["messages"][0]["state"] == "delivered"
    sandbox.post({"messaging_product": "whatsapp", "status": "read", "message_id": message_id})
    assert state(sandbox, key)["chat"]["messages"][0]["state"] == "read"


def test_only_what_changed_is_given(sandbox: Sandbox) -> None:
    key = add(sandbox)["key"]
    sandbox.send(body="one")
    seen = state(sandbox, key)
    sandbox.send(body="two")
    fresh = sandbox.control("GET", f"chat/state?open={key}&since={seen['version']}&epoch={seen['epoch']}")
    assert [message["body"]["text"]["body"] for message in fresh["chat"]["messages"]] == ["two"]
    same = sandbox.control("GET", f"chat/state?open={key}&since={fresh['version']}&epoch={fresh['epoch']}")
    assert same["chat"]["messages"] == []
    assert "customers" not in same


def test_edits_deletions_and_reactions_show_on_both_sides(sandbox: Sandbox, receiver: Receiver) -> None:
    key = add(sandbox)["key"]
    first = say(sandbox, key, type="text", text={"body": "teh"})
    second = say(sandbox, key, type="text", text={"body": "oops"})
    theirs = sandbox.send()
    edited = {"type": "text", "text": {"body": "the"}}
    say(sandbox, key, type="edit", edit={"original_message_id": first, "message": edited})
    say(sandbox, key, type="revoke", revoke={"original_message_id": second})
    say(sandbox, key, type="reaction", reaction={"message_id": theirs, "emoji": "👍"})
    sandbox.send(type="reaction", reaction={"message_id": first, "emoji": "❤️"})
    one, two, three = state(sandbox, key)["chat"]["messages"]
    assert (one["edited"], one["body"]["text"]["body"], one["reactions"]) == (True, "the", {"business": "❤️"})
    assert (two["deleted"], two["body"]) == (True, {})
    assert three["reactions"] == {"me": "👍"}
    say(sandbox, key, type="reaction", reaction={"message_id": theirs, "emoji": ""})
    assert state(sandbox, key)["chat"]["messages"][2]["reactions"] is None
    sandbox.quiet()
    assert [message["type"] for message in receiver.messages()] == [
        "text",
        "text",
        "edit",
        "revoke",
        "reaction",
        "reaction",
    ]


def test_a_customer_who_blocks_is_not_reached(sandbox: Sandbox, receiver: Receiver) -> None:
    key = add(sandbox)["key"]
    assert sandbox.control("PATCH", f"chat/customers/{key}", {"blocked": True})["blocked"] is True
    message_id = sandbox.send()
    sandbox.quiet()
    assert receiver.status_updates(message_id)[0]["errors"][0]["code"] == 131026
    assert state(sandbox, key)["chat"]["messages"] == []
    sandbox.control("PATCH", f"chat/customers/{key}", {"blocked": False})
    sandbox.send()
    assert len(state(sandbox, key)["chat"]["messages"]) == 1


def test_stopping_marketing_tells_the_web_app(sandbox: Sandbox, receiver: Receiver) -> None:
    key = add(sandbox, bsuid=True)["key"]
    sandbox.control("PATCH", f"chat/customers/{key}", {"stopped": True})
    sandbox.quiet()
    preference = receiver.changes("user_preferences")[0]["user_preferences"][0]
    assert (preference["category"], preference["value"], preference["wa_id"]) == (
        "marketing_messages",
        "stop",
        "15550001111",
    )
    assert isinstance(preference["timestamp"], int)
    assert preference["user_id"].startswith("US.")
    sale = {"name": "spring_sale", "language": {"code": "ar"}}
    sale["components"] = [{"type": "body", "parameters": [{"type": "text", "text": "5%"}]}]
    marketing = sandbox.send(type="template", template=sale)
    service = sandbox.send()
    sandbox.quiet()
    assert receiver.status_updates(marketing)[0]["errors"][0]["code"] == 131050
    assert receiver.names(service) == ["sent", "delivered"]
    sandbox.control("PATCH", f"chat/customers/{key}", {"stopped": False})
    sandbox.quiet()
    assert receiver.changes("user_preferences")[1]["user_preferences"][0]["value"] == "resume"


def test_changing_the_number_moves_the_customer(sandbox: Sandbox, receiver: Receiver) -> None:
    customer = add(sandbox, bsuid=True)
    changed = sandbox.control("PATCH", f"chat/customers/{customer['key']}", {"phone": "+1 555 000 9999"})
    sandbox.quiet()
    message = receiver.messages()[0]
    assert (message["type"], message["from"]) == ("system", "15550001111")
    assert message["system"]["type"] == "user_changed_number"
    assert message["system"]["wa_id"] == "15550009999"
    assert message["system"]["user_id"] == changed["user_id"] != customer["user_id"]
    assert "contacts" not in receiver.changes()[0]
    sandbox.send("+15550009999", "still you")
    assert len(state(sandbox, customer["key"])["chat"]["messages"]) == 2
    other = add(sandbox, phone="+1 555 000 8888")["key"]
    sandbox.control("PATCH", f"chat/customers/{other}", {"phone": "+15550009999"}, status=409)


def test_a_hidden_number_stays_hidden(sandbox: Sandbox, receiver: Receiver) -> None:
    customer = add(sandbox, username="@ann.bo", hidden=True)
    say(sandbox, customer["key"], type="text", text={"body": "Hi"})
    sandbox.quiet()
    value = receiver.changes()[0]
    contact = {"profile": {"name": "Ann Bo", "username": "ann.bo"}, "user_id": customer["user_id"]}
    assert value["contacts"] == [contact]
    assert "15550001111" not in str(value["messages"])
    assert state(sandbox)["customers"][0]["hidden"] is True


@pytest.mark.parametrize(
    ("name", "mime_type", "wish", "kind"),
    [
        ("a.png", "image/png", "", "image"),
        ("a.webp", "image/webp", "", "sticker"),
        ("a.mp4", "video/mp4", "", "video"),
        ("a.ogg", "audio/ogg", "voice", "audio"),
        ("a.pdf", "application/pdf", "", "document"),
        ("a.png", "image/png", "document", "document"),
    ],
)
def test_a_file_becomes_the_right_kind(
    sandbox: Sandbox, receiver: Receiver, name: str, mime_type: str, wish: str, kind: str
) -> None:
    key = add(sandbox)["key"]
    form = {"customer": key, "as": wish, "caption": "Look", "phone_number_id": NUMBER}
    answer = sandbox.session.post(
        f"{sandbox.url}/_sandbox/chat/files", data=form, files={"file": (name, b"content", mime_type)}
    )
    assert answer.status_code == 201, answer.text
    sandbox.quiet()
    message = receiver.messages()[0]
    assert message["type"] == kind
    assert ("caption" in message[kind]) == (kind in ("image", "video", "document"))
    assert message[kind].get("voice") == (True if kind == "audio" else None)
    shown = state(sandbox, key)["chat"]["messages"][0]
    assert shown["media"]["size"] == 7
    got = sandbox.session.get(f"{sandbox.url}/_sandbox/chat/media/{message[kind]['id']}")
    assert got.content == b"content"
    inline = "attachment" not in got.headers.get("Content-Disposition", "")
    assert inline == (mime_type != "application/pdf")


def test_a_linked_file_is_fetched_only_if_a_message_names_it(sandbox: Sandbox, receiver: Receiver) -> None:
    add(sandbox)
    url = f"{sandbox.url}/static/icon.svg"
    message_id = sandbox.send(type="image", text=None, image={"link": url})
    path = f"{sandbox.url}/_sandbox/chat/link"
    assert sandbox.session.get(path, params={"message": message_id, "url": url}).status_code == 415
    assert sandbox.session.get(path, params={"message": message_id, "url": f"{sandbox.url}/log"}).status_code == 404
    assert sandbox.session.get(path, params={"message": "x", "url": url}).status_code == 404


def test_a_template_is_shown_filled_in(sandbox: Sandbox) -> None:
    key = add(sandbox)["key"]
    components = [
        {"type": "BODY", "parameters": [{"type": "text", "text": "Ann"}, {"type": "text", "text": "A-1"}]},
        {
            "type": "button",
            "sub_type": "quick_reply",
            "index": 1,
            "parameters": [{"type": "payload", "payload": "STOP"}],
        },
    ]
    template = {"name": "order_update", "language": {"code": "en_US"}, "components": components}
    sandbox.send(type="template", template=template)
    shown = state(sandbox, key)["chat"]["messages"][0]["rendered"]
    assert shown["header"] == {"type": "text", "text": "Order update"}
    assert shown["body"].startswith("Hi Ann, your order A-1 ")
    assert [button["payload"] for button in shown["buttons"]] == ["Where is it?", "STOP"]


def test_customers_can_be_found_and_removed(sandbox: Sandbox) -> None:
    key = add(sandbox)["key"]
    add(sandbox, name="Bea", phone="+49 151 1234567", username="bea")
    found = sandbox.control("GET", "chat/state?q=bea")["customers"]
    assert [customer["name"] for customer in found] == ["Bea"]
    sandbox.control("PATCH", f"chat/customers/{key}", {"name": "Anna"})
    assert "Anna" in [customer["name"] for customer in state(sandbox)["customers"]]
    sandbox.control("DELETE", f"chat/customers/{key}")
    assert [customer["name"] for customer in state(sandbox)["customers"]] == ["Bea"]
    sandbox.control("PATCH", f"chat/customers/{key}", {"name": "x"}, status=404)


@pytest.mark.parametrize("path", ["/", "/log"])
def test_the_pages_are_strict(sandbox: Sandbox, path: str) -> None:
    page = sandbox.session.get(sandbox.url + path)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "style=" not in page.text and "onclick" not in page.text
    assert "Simulation" in page.text
    assert sandbox.env["SANDBOX_WEBHOOK_URL"].removesuffix("/webhooks/whatsapp") in page.text
