"""Sending: what is accepted, how it is answered, and which error each mistake gets."""

import base64

import pytest
from playground import CUSTOMER, NUMBER, Sandbox

WHATSAPP = {"messaging_product": "whatsapp", "to": CUSTOMER}
WAMID = "wamid.HBgLMTU1NTAwMDExMTEVAgASGBQzQTAwAA=="
LONG_LINK = "https://shop.example.test/t/7"

BUTTON = {"type": "reply", "reply": {"id": "ok", "title": "Yes"}}
ROW = {"id": "r1", "title": "Row 1", "description": "first"}


def interactive(kind: str, action: dict, **more: object) -> dict:
    return {"type": "interactive", "interactive": {"type": kind, "body": {"text": "Pick"}, "action": action, **more}}


ACCEPTED = {
    "text": {"type": "text", "text": {"body": "See https://shop.example.test", "preview_url": True}},
    "text by default": {"text": {"body": "Hi"}},
    "reply": {"type": "text", "text": {"body": "Hi"}, "context": {"message_id": WAMID}},
    "nulls": {"type": "text", "text": {"body": "Hi", "preview_url": None}, "context": None, "image": None},
    "image by link": {"type": "image", "image": {"link": "https://cdn.example.test/a.jpg", "caption": "x"}},
    "video": {"type": "video", "video": {"link": "https://cdn.example.test/a.mp4"}},
    "audio": {"type": "audio", "audio": {"link": "https://cdn.example.test/a.ogg", "voice": True}},
    "document": {"type": "document", "document": {"link": "https://c.example.test/i.pdf", "filename": "i.pdf"}},
    "sticker": {"type": "sticker", "sticker": {"link": "https://cdn.example.test/a.webp"}},
    "location": {"type": "location", "location": {"latitude": 12.34, "longitude": "56.78", "name": "Depot"}},
    "reaction": {"type": "reaction", "reaction": {"message_id": WAMID, "emoji": "👍"}},
    "reaction removed": {"type": "reaction", "reaction": {"message_id": WAMID, "emoji": ""}},
    "contacts": {
        "type": "contacts",
        "contacts": [
            {
                "name": {"formatted_name": "Ann Bo", "first_name": "Ann", "last_name": None},
                "phones": [{"phone": CUSTOMER, "type": "MOBILE", "wa_id": None}],
                "emails": [],
                "urls": [],
                "org": {"company": "Test Ltd"},
                "birthday": None,
            }
        ],
    },
    "buttons": interactive("button", {"buttons": [BUTTON]}, header={"type": "text", "text": "Order"}),
    "button with image": interactive(
        "button", {"buttons": [BUTTON]}, header={"type": "image", "image": {"link": LONG_LINK}}
    ),
    "list": interactive("list", {"button": "Open", "sections": [{"title": "A", "rows": [ROW]}]}),
    "cta_url": interactive("cta_url", {"name": "cta_url", "parameters": {"display_text": "Open", "url": LONG_LINK}}),
    "location request": interactive("location_request_message", {"name": "send_location"}),
    "product": interactive("product", {"catalog_id": "555", "product_retailer_id": "SKU1"}),
    "product list": interactive(
        "product_list",
        {"catalog_id": "5", "sections": [{"title": "S", "product_items": [{"product_retailer_id": "SKU1"}]}]},
        header={"type": "text", "text": "Picks"},
    ),
    "catalog": interactive("catalog_message", {"name": "catalog_message", "parameters": {}}),
    "flow": interactive(
        "flow",
        {"name": "flow", "parameters": {"flow_message_version": "3", "flow_id": "777", "flow_cta": "Start"}},
    ),
    "call permission": interactive("call_permission_request", {"name": "call_permission_request"}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_kind_is_accepted(sandbox: Sandbox, name: str) -> None:
    answer = sandbox.post({**WHATSAPP, **ACCEPTED[name]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["contacts"] == [{"input": CUSTOMER, "wa_id": "15550001111"}]
    assert list(found["messages"][0]) == ["id"]


@pytest.mark.parametrize("written", ["+1 (555) 000-1111", "15550001111", "+1\u00a0555 000.1111", 15550001111])
def test_a_phone_number_may_be_written_in_any_sane_way(sandbox: Sandbox, written: object) -> None:
    contact = sandbox.post({**WHATSAPP, "to": written, "text": {"body": "x"}}).json()["contacts"][0]
    assert contact == {"input": str(written), "wa_id": "15550001111"}


def test_a_user_id_can_be_addressed_alone_or_with_the_number(sandbox: Sandbox) -> None:
    text = {"messaging_product": "whatsapp", "type": "text", "text": {"body": "x"}}
    alone = sandbox.post({**text, "recipient": "US.123abc"}).json()
    assert alone["contacts"] == [{"input": "US.123abc", "user_id": "US.123abc"}]
    both = sandbox.post({**text, "recipient": "US.123abc", "to": CUSTOMER}).json()
    assert both["contacts"] == [{"input": CUSTOMER, "wa_id": "15550001111", "user_id": "US.123abc"}]


def test_message_ids_look_like_metas_and_never_repeat(sandbox: Sandbox) -> None:
    ids = {sandbox.send(f"+1555000{n}", "x") for n in (11, 112, 1113, 11114) for _ in range(5)}
    assert len(ids) == 20
    for message_id in ids:
        assert message_id.startswith("wamid.") and message_id.endswith("=")
        assert base64.b64decode(message_id[6:]).startswith(b"\x1c\x18")


def test_sending_twice_makes_two_messages(sandbox: Sandbox) -> None:
    first = sandbox.send(biz_opaque_callback_data="out_1")
    second = sandbox.send(biz_opaque_callback_data="out_1")
    assert first != second
    assert sandbox.stats()["accepted"] == 2
    assert sandbox.stats()["duplicates"] == 1


REFUSED = {
    "no product": ({"to": CUSTOMER, "type": "text", "text": {"body": "x"}}, 131008),
    "wrong product": ({**WHATSAPP, "messaging_product": "signal", "text": {"body": "x"}}, 131009),
    "no recipient": ({"messaging_product": "whatsapp", "type": "text", "text": {"body": "x"}}, 131008),
    "letters in the number": ({**WHATSAPP, "to": "+1555CALLME", "text": {"body": "x"}}, 131009),
    "number too short": ({**WHATSAPP, "to": "+1", "text": {"body": "x"}}, 131009),
    "bad user id": ({"messaging_product": "whatsapp", "recipient": "12.x", "text": {"body": "x"}}, 131009),
    "own number": ({**WHATSAPP, "to": "+15550783881", "text": {"body": "x"}}, 131021),
    "no content": ({**WHATSAPP, "type": "text"}, 131008),
    "no body": ({**WHATSAPP, "type": "text", "text": {}}, 131008),
    "empty body": ({**WHATSAPP, "type": "text", "text": {"body": "  "}}, 131008),
    "long body": ({**WHATSAPP, "type": "text", "text": {"body": "x" * 4097}}, 100),
    "wrong JSON type": ({**WHATSAPP, "type": "text", "text": "x"}, 100),
    "unknown key": ({**WHATSAPP, "type": "text", "text": {"body": "x"}, "color": "red"}, 100),
    "unknown key inside": ({**WHATSAPP, "type": "text", "text": {"body": "x", "bold": True}}, 100),
    "unknown type": ({**WHATSAPP, "type": "poll"}, 131009),
    "id and link": ({**WHATSAPP, "type": "image", "image": {"id": "1", "link": LONG_LINK}}, 131009),
    "neither id nor link": ({**WHATSAPP, "type": "image", "image": {"caption": "x"}}, 131009),
    "unknown media": ({**WHATSAPP, "type": "image", "image": {"id": "900100"}}, 131009),
    "caption on audio": ({**WHATSAPP, "type": "audio", "audio": {"link": LONG_LINK, "caption": "x"}}, 100),
    "long caption": ({**WHATSAPP, "type": "image", "image": {"link": LONG_LINK, "caption": "x" * 1025}}, 131009),
    "ftp link": ({**WHATSAPP, "type": "image", "image": {"link": "ftp://x.test/a"}}, 131009),
    "latitude": ({**WHATSAPP, "type": "location", "location": {"latitude": 91, "longitude": 0}}, 131009),
    "half a name": ({**WHATSAPP, "type": "contacts", "contacts": [{"name": {"formatted_name": "A"}}]}, 131008),
    "reply reaction": (
        {**WHATSAPP, "type": "reaction", "reaction": {"message_id": WAMID}, "context": {"message_id": WAMID}},
        131009,
    ),
    "four buttons": (
        {
            **WHATSAPP,
            **interactive("button", {"buttons": [{"type": "reply", "reply": {"id": n, "title": n}} for n in "abcd"]}),
        },
        131009,
    ),
    "same titles": ({**WHATSAPP, **interactive("button", {"buttons": [BUTTON, BUTTON]})}, 131009),
    "long title": (
        {
            **WHATSAPP,
            **interactive("button", {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "x" * 21}}]}),
        },
        131009,
    ),
    "eleven rows": (
        {
            **WHATSAPP,
            **interactive(
                "list",
                {
                    "button": "Open",
                    "sections": [
                        {"title": str(s), "rows": [{"id": f"{s}{n}", "title": "x"} for n in range(6)]} for s in (1, 2)
                    ],
                },
            ),
        },
        131009,
    ),
    "no interactive body": (
        {**WHATSAPP, "type": "interactive", "interactive": {"type": "button", "action": {"buttons": [BUTTON]}}},
        131008,
    ),
    "long interactive body": (
        {**WHATSAPP, **interactive("button", {"buttons": [BUTTON]}, body={"text": "x" * 1025})},
        131009,
    ),
    "long footer": ({**WHATSAPP, **interactive("button", {"buttons": [BUTTON]}, footer={"text": "x" * 61})}, 131009),
    "list with image header": (
        {
            **WHATSAPP,
            **interactive(
                "list",
                {"button": "Open", "sections": [{"rows": [ROW]}]},
                header={"type": "image", "image": {"id": "1"}},
            ),
        },
        131009,
    ),
    "unknown interactive": ({**WHATSAPP, **interactive("dance", {})}, 131009),
    "a list": ([], 100),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_mistake_gets_metas_error(sandbox: Sandbox, name: str) -> None:
    body, code = REFUSED[name]
    answer = sandbox.post(body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code), answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert error["type"] and error["fbtrace_id"] and isinstance(error["message"], str)
    assert sandbox.stats()["accepted"] == 0
    assert sandbox.stats()["refused_by_code"] == {str(code): 1}


def test_broken_json_is_error_100(sandbox: Sandbox) -> None:
    answer = sandbox.graph("POST", f"{NUMBER}/messages", data=b"{", headers={"Content-Type": "application/json"})
    assert answer.json()["error"]["code"] == 100
    assert sandbox.log()[0]["body"] == "{"


@pytest.mark.parametrize("token", [None, "wrong", ""])
def test_a_wrong_token_is_error_190(sandbox: Sandbox, token: str | None) -> None:
    answer = sandbox.post({**WHATSAPP, "text": {"body": "x"}}, token=token)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == 190


def test_an_unknown_number_does_not_exist(sandbox: Sandbox) -> None:
    answer = sandbox.post({**WHATSAPP, "text": {"body": "x"}}, number="999")
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["error_subcode"]) == (100, 33)


@pytest.mark.parametrize(
    ("version", "path", "code"),
    [
        ("v19.0", f"{NUMBER}/messages", 2635),
        ("v1.0", f"{NUMBER}/messages", 2635),
        ("latest", f"{NUMBER}/messages", 2500),
        ("v26", "me", 2500),
        ("v26.0", f"{NUMBER}/dance", 2500),
        ("v26.0", f"{NUMBER}/messages/1/2", 2500),
        ("v26.0", "", 2500),
    ],
)
def test_any_other_path_is_a_graph_error(sandbox: Sandbox, version: str, path: str, code: int) -> None:
    answer = sandbox.graph("POST", path, version=version, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("version", ["v20.0", "v23.0", "v30.0"])
def test_versions_from_20_are_served(sandbox: Sandbox, version: str) -> None:
    assert sandbox.post({**WHATSAPP, "text": {"body": "x"}}, version=version).status_code == 200


def test_a_deregistered_number_cannot_send_until_it_is_registered(sandbox: Sandbox) -> None:
    assert sandbox.graph("POST", f"{NUMBER}/deregister").json() == {"success": True}
    assert sandbox.post({**WHATSAPP, "text": {"body": "x"}}).json()["error"]["code"] == 133010
    assert sandbox.graph("POST", f"{NUMBER}/register", json={"pin": "12"}).status_code == 400
    sandbox.graph("POST", f"{NUMBER}/register", json={"messaging_product": "whatsapp", "pin": "123456"})
    sandbox.send()


def test_a_huge_body_is_refused_as_json(sandbox: Sandbox) -> None:
    answer = sandbox.graph("POST", f"{NUMBER}/messages", data=b" " * (106 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == 100
