"""Every type of message through the API: accepted as it is, or refused with the field, the limit and the remedy."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crm_tasks.core import db
from crm_tasks.core.errors import Invalid
from crm_tasks.messages.contents import TYPES
from crm_tasks.messages.models import Message
from tests.fixtures import Demo
from tests.messages.apply import one, rows, wrote
from tests.webapp.api import Api, fields

LINK = "https://cdn.example.test/a"
NAME = {"formatted_name": "Ann Bo", "first_name": "Ann"}
BODY = {"text": "Words"}
REPLY = {"type": "reply", "reply": {"id": "ok", "title": "Yes"}}
ROW = {"id": "r1", "title": "Row"}
ITEM = {"product_retailer_id": "SKU1"}


def buttons(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "button", "body": BODY, "action": {"buttons": list(given or (REPLY,))}, **more}


def rows_of(*sections: dict[str, Any], **more: Any) -> dict[str, Any]:
    action = {"button": "Open", "sections": list(sections or ({"title": "A", "rows": [ROW]},))}
    return {"type": "list", "body": BODY, "action": action, **more}


def flow(**parameters: Any) -> dict[str, Any]:
    known = {"flow_message_version": "3", "flow_cta": "Start", **parameters}
    return {"type": "flow", "body": BODY, "action": {"name": "flow", "parameters": known}}


def products(*sections: dict[str, Any]) -> dict[str, Any]:
    action = {"catalog_id": "555", "sections": list(sections)}
    return {"type": "product_list", "header": {"type": "text", "text": "Picks"}, "body": BODY, "action": action}


def template(*components: dict[str, Any]) -> dict[str, Any]:
    return {"name": "order_update", "language": {"code": "en_US"}, "components": list(components)}


def button(sub_type: str, index: Any, **parameter: Any) -> dict[str, Any]:
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": [parameter]}


CTA = {"display_text": "Open", "url": "https://shop.example.test/t/7"}
WORDS = {"type": "body", "parameters": [{"type": "text", "text": "Ann"}]}
# (type, its object, what a person reads of it)
GOOD: list[tuple[str, Any, str | None]] = [
    ("text", {"body": "See https://shop.example.test", "preview_url": True}, "See https://shop.example.test"),
    ("text", {"body": "x" * 4096}, "x" * 4096),
    ("image", {"link": LINK, "caption": "x" * 1024}, "x" * 1024),
    ("image", {"id": "900100"}, None),
    ("video", {"id": "900101", "caption": "clip"}, "clip"),
    ("audio", {"id": "900103", "voice": True}, None),
    ("document", {"link": LINK, "filename": "invoice.pdf"}, "invoice.pdf"),
    ("document", {"link": LINK, "filename": "invoice.pdf", "caption": "No. 7"}, "No. 7"),
    ("sticker", {"id": "900104"}, None),
    ("location", {"latitude": 12.34, "longitude": -56.78, "name": "Depot", "address": "1 Test Rd"}, "Depot"),
    ("location", {"latitude": 90.0, "longitude": -180.0}, None),
    ("contacts", [{"name": NAME, "phones": [{"phone": "+15550002222"}]}, {"name": NAME}], "Ann Bo, Ann Bo"),
    ("reaction", {"message_id": "wamid.IN", "emoji": "👍"}, "👍"),
    ("reaction", {"message_id": "wamid.IN", "emoji": ""}, None),
    ("interactive", buttons(header={"type": "text", "text": "Order"}, footer={"text": "Shop"}), "Words"),
    ("interactive", buttons(header={"type": "image", "image": {"link": LINK}}), "Words"),
    ("interactive", buttons(header={"type": "document", "document": {"id": "9", "filename": "a.pdf"}}), "Words"),
    ("interactive", rows_of(), "Words"),
    (
        "interactive",
        {"type": "cta_url", "body": BODY, "action": {"name": "cta_url", "parameters": CTA}},
        "Words",
    ),
    ("interactive", flow(flow_id="777", flow_action="navigate", flow_action_payload={"screen": "FIRST"}), "Words"),
    ("interactive", flow(flow_name="book", mode="draft"), "Words"),
    ("interactive", {"type": "product", "action": {"catalog_id": "555", **ITEM}}, None),
    ("interactive", products({"title": "S", "product_items": [ITEM]}), "Words"),
    ("interactive", {"type": "catalog_message", "body": BODY, "action": {"name": "catalog_message"}}, "Words"),
    (
        "interactive",
        {"type": "location_request_message", "body": BODY, "action": {"name": "send_location"}},
        "Words",
    ),
    ("template", template(), "[order_update]"),
    (
        "template",
        template(
            {"type": "header", "parameters": [{"type": "location", "location": {"latitude": 1.0, "longitude": 2.0}}]},
            {
                "type": "body",
                "parameters": [
                    {"type": "text", "text": "Ann"},
                    {
                        "type": "currency",
                        "currency": {"fallback_value": "$5.00", "code": "USD", "amount_1000": 5000},
                    },
                    {"type": "date_time", "date_time": {"fallback_value": "1 May 2027"}},
                ],
            },
            button("url", "0", type="text", text="A-100"),
            button("quick_reply", "1", type="payload", payload="STOP_PROMO"),
            button("copy_code", "2", type="coupon_code", coupon_code="25OFF"),
            button("flow", "3", type="action", action={"flow_token": "t"}),
            {"type": "limited_time_offer", "parameters": [{"type": "limited_time_offer", "whatever": 1}]},
        ),
        "[order_update]",
    ),
    (
        "template",
        template({"type": "body", "parameters": [{"type": "text", "text": "Ann", "parameter_name": "first_name"}]}),
        "[order_update]",
    ),
]


def post(demo: Demo, api: Api, kind: str, content: Any, **more: Any) -> Any:
    """Send something to somebody who has just written, if it is to somebody."""
    new = {"channel_id": str(demo.channel_id), "to": "+15550001111", "type": kind, kind: content, **more}
    with suppress(Invalid), db.transaction() as session:
        wrote(session, demo, new["to"])
    return api.post("/messages", new)


def test_every_type_is_tried() -> None:
    assert {kind for kind, _, _ in GOOD} == set(TYPES)


@pytest.mark.parametrize(("kind", "content", "words"), GOOD, ids=lambda value: str(value)[:30])
def test_a_message_of_each_type_is_accepted_as_it_is(
    demo: Demo, api: Api, kind: str, content: Any, words: str | None
) -> None:
    answer = post(demo, api, kind, content)
    assert answer.status_code == 202, answer.get_json()
    message = one(Message)
    assert message.content == ({"contacts": content} if kind == "contacts" else content)
    assert (message.type, message.text) == (kind, words)
    assert message.target_provider_id == ("wamid.IN" if kind == "reaction" else None)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "reaction"])
def test_every_type_but_a_reaction_can_be_a_reply(demo: Demo, api: Api, kind: str) -> None:
    content = next(given for each, given, _ in GOOD if each == kind)
    assert post(demo, api, kind, content, context={"message_id": "wamid.A"}).status_code == 202
    assert one(Message).context_provider_id == "wamid.A"


def test_what_clients_write_otherwise_is_put_right(demo: Demo, api: Api) -> None:
    """Types in capitals, the place of a button as a number, null for what is not known."""
    shouted = template({**WORDS, "type": "BODY"}, button("URL", 0, type="TEXT", text="A"))
    assert post(demo, api, "template", shouted).status_code == 202
    assert post(demo, api, "contacts", [{"name": NAME, "org": None, "emails": [], "birthday": None}]).status_code == 202
    first, second = rows(Message)
    assert first.content == template(WORDS, button("url", "0", type="text", text="A"))
    assert second.content == {"contacts": [{"name": NAME, "emails": []}]}


ELEVEN = [{"id": f"r{n}", "title": "Row"} for n in range(11)]
BAD: list[tuple[str, Any, str, str]] = [
    ("text", {"body": "x" * 4097}, "text.body", "1 to 4096"),
    ("image", {}, "image", "exactly one of id and link"),
    ("image", {"id": "1", "link": LINK}, "image", "exactly one of id and link"),
    ("image", {"link": "ftp://x.test/a"}, "image.link", "https://"),
    ("image", {"link": LINK, "caption": "x" * 1025}, "image.caption", "1 to 1024"),
    ("image", {"link": LINK, "filename": "a"}, "image.filename", "only a document"),
    ("audio", {"id": "1", "caption": "x"}, "audio.caption", "only an image, a video or a document"),
    ("sticker", {"id": "1", "caption": "x"}, "sticker.caption", "only an image, a video or a document"),
    ("video", {"id": "1", "voice": True}, "video.voice", "only an audio"),
    ("video", {"id": "1", "colour": "red"}, "video.colour", "Unknown field"),
    ("location", {"latitude": 91, "longitude": 0}, "location.latitude", "-90 to 90"),
    ("location", {"latitude": 1}, "location.longitude", "Missing"),
    ("contacts", [], "contacts", "1 to 257"),
    ("contacts", {"name": NAME}, "contacts", ""),
    ("contacts", [{"name": {"formatted_name": "Ann"}}], "contacts.0.name", "first_name"),
    ("contacts", [{"name": NAME, "birthday": "31.1.1990"}], "contacts.0.birthday", "1990-01-31"),
    ("reaction", {"message_id": "wamid.A"}, "reaction.emoji", "take yours back"),
    ("reaction", {"emoji": "x"}, "reaction.message_id", "provider_id"),
    ("interactive", "x", "interactive", "Invalid"),
    ("interactive", {"type": "dance"}, "interactive.type", "button, list"),
    ("interactive", buttons(*[REPLY] * 2), "interactive.action.buttons", "unique"),
    (
        "interactive",
        buttons(*[{"type": "reply", "reply": {"id": str(n), "title": str(n)}} for n in range(4)]),
        "interactive.action.buttons",
        "1 to 3",
    ),
    (
        "interactive",
        buttons({"type": "reply", "reply": {"id": "a", "title": "x" * 21}}),
        "interactive.action.buttons.0.reply.title",
        "1 to 20",
    ),
    ("interactive", {**buttons(), "body": {"text": "x" * 1025}}, "interactive.body.text", "1 to 1024"),
    ("interactive", buttons(footer={"text": "x" * 61}), "interactive.footer.text", "1 to 60"),
    ("interactive", buttons(header={"type": "audio"}), "interactive.header.type", "text, image, video, document"),
    ("interactive", buttons(header={"type": "image"}), "interactive.header.image", "Missing"),
    ("interactive", rows_of(header={"type": "image", "image": {"id": "1"}}), "interactive.header.type", "text."),
    ("interactive", {**rows_of(), "body": {"text": "x" * 4097}}, "interactive.body.text", "1 to 4096"),
    (
        "interactive",
        rows_of({"title": "A", "rows": ELEVEN[:6]}, {"title": "B", "rows": ELEVEN[6:]}),
        "interactive.action.sections",
        "10 rows; there are 11",
    ),
    ("interactive", rows_of({"rows": [ROW]}, {"rows": []}), "interactive.action.sections.1.rows", "1 to 10"),
    (
        "interactive",
        rows_of({"rows": ELEVEN[:1]}, {"rows": ELEVEN[1:2]}),
        "interactive.action.sections",
        "each needs a title",
    ),
    ("interactive", rows_of({"rows": [ROW, ROW]}), "interactive.action.sections", "unique"),
    ("interactive", flow(), "interactive.action.parameters", "flow_id and flow_name"),
    (
        "interactive",
        flow(flow_id="7", flow_action="data_exchange", flow_action_payload={"screen": "A"}),
        "interactive.action.parameters.flow_action_payload",
        "data_exchange",
    ),
    (
        "interactive",
        {"type": "product", "header": {"type": "text", "text": "x"}, "action": {"catalog_id": "5", **ITEM}},
        "interactive.header",
        "of type product has no header",
    ),
    ("interactive", {**products({"product_items": [ITEM]}), "header": None}, "interactive.header", ""),
    (
        "interactive",
        products(*[{"title": "S", "product_items": [ITEM] * 16} for _ in range(2)]),
        "interactive.action.sections",
        "30 products; there are 32",
    ),
    ("template", template({"type": "footer"}), "template.components.0.type", "header, body, button"),
    ("template", template(WORDS, WORDS), "template.components", "One header, one body"),
    (
        "template",
        template(button("url", 10, type="text", text="x")),
        "template.components.0.index",
        "0 to 9",
    ),
    (
        "template",
        template(button("dance", 0, type="text", text="x")),
        "template.components.0.sub_type",
        "url, quick_reply",
    ),
    (
        "template",
        template(button("url", 0, type="payload", payload="x")),
        "template.components.0.parameters.0.type",
        "text.",
    ),
    (
        "template",
        template({"type": "header", "parameters": [{"type": "text", "text": "x" * 61}]}),
        "template.components.0.parameters.0.text",
        "1 to 60",
    ),
    (
        "template",
        template(
            {
                "type": "body",
                "parameters": [{"type": "text", "text": "a", "parameter_name": "a"}, {"type": "text", "text": "b"}],
            }
        ),
        "template.components.0.parameters",
        "to all parameters, or to none",
    ),
]


@pytest.mark.parametrize(("kind", "content", "field", "remedy"), BAD, ids=lambda value: str(value)[:30])
def test_what_the_provider_would_refuse_is_refused_here_with_the_field_and_the_limit(
    demo: Demo, api: Api, kind: str, content: Any, field: str, remedy: str
) -> None:
    refused = post(demo, api, kind, content)
    assert refused.status_code == 422, refused.get_json()
    assert remedy in fields(refused)[field]
    assert rows(Message) == []


def test_a_reaction_is_no_reply(demo: Demo, api: Api) -> None:
    refused = post(demo, api, "reaction", {"message_id": "wamid.A", "emoji": "x"}, context={"message_id": "wamid.A"})
    assert "names its message itself" in fields(refused)["context"]


@pytest.mark.parametrize(
    "to",
    [
        "tel:+1-555-000-1111",
        "+1\u00a0555\u00a0000\u00a01111",
        "001 555 000 1111",
        "(00)1-555-000-1111",
        "+1 555 000 1111 ext. 5",
        "+15550001111x7",
        "\u200e+1 555 000 1111\u200f",
        "whatsapp:+15550001111",
        "５５５０００１１１１",
    ],
)
def test_a_number_in_any_sane_writing_is_understood(demo: Demo, api: Api, to: str) -> None:
    first = post(demo, api, "text", {"body": "x"}).get_json()
    assert post(demo, api, "text", {"body": "x"}, to=to).get_json()["contact_id"] == first["contact_id"]


@pytest.mark.parametrize("to", ["+55 11 91234-5678", "+55 11 1234-5678", "+52 1 55 1234 5678", "+52 55 1234 5678"])
def test_both_writings_of_brazil_and_mexico_are_taken(demo: Demo, api: Api, to: str) -> None:
    assert post(demo, api, "text", {"body": "x"}, to=to).status_code == 202


@pytest.mark.parametrize("to", ["9.19E+11", "9,19e+11", "+1 800 FLOWERS", "call +15550001111", "x5", "ext. 5", "00"])
def test_what_is_no_number_any_more_is_refused(demo: Demo, api: Api, to: str) -> None:
    refused = post(demo, api, "text", {"body": "x"}, to=to)
    assert "such as +14155550123" in fields(refused)["to"]


def test_the_document_shows_every_shape_by_its_name(api: Api) -> None:
    shapes = api.get("/openapi.json").get_json()["components"]["schemas"]
    choices = shapes["NewMessage"]["properties"]["interactive"]["oneOf"]
    assert {"$ref": "#/components/schemas/Buttons"} in choices
    assert len(choices) == 8
    assert not [name for name in shapes if name[-1].isdigit()], json.dumps(sorted(shapes))
    assert Path(choices[0]["$ref"]).name in shapes
