"""The interactive messages: what each sub-type must hold and how much of it."""

from typing import Any

from sandbox.fields import Json
from sandbox.graph.shape import (
    Check,
    anything,
    array,
    every,
    invalid,
    link,
    mapping,
    missing,
    number,
    obj,
    one_of,
    text,
)

_MEDIUM = obj({}, {"id": text(255), "link": link, "filename": text(240)}, closed=False)
_MEDIA_HEADERS = {"image": _MEDIUM, "video": _MEDIUM, "document": _MEDIUM}
_TEXT_HEADER = obj({"type": one_of("text"), "text": text(60)}, {"sub_text": text(60)})
_ANY_HEADER = obj(
    {"type": one_of("text", "image", "video", "document")},
    {"text": text(60), "sub_text": text(60), **_MEDIA_HEADERS},
)


def _header(value: Any, where: str) -> None:
    _ANY_HEADER(value, where)
    kind = value["type"].lower()
    if not value.get(kind):
        raise missing(f"{where}['{kind}']")
    if kind != "text" and bool(value[kind].get("id")) == bool(value[kind].get("link")):
        raise invalid(f"{where}['{kind}']", "needs either an id or a link")


def _body(most: int) -> Check:
    return obj({"text": text(most)})


_FOOTER = obj({"text": text(60)})
_REPLY = obj({"type": one_of("reply"), "reply": obj({"id": text(256), "title": text(20)})})
_ROW = obj({"id": text(200), "title": text(24)}, {"description": text(72, 0)})
_SECTION = obj({"rows": array(_ROW, 1, 10)}, {"title": text(24, 0)})
_PRODUCT = obj({"product_retailer_id": text(255)})
_CTA = obj({"display_text": text(20), "url": link})
_CARD = obj(
    {"action": mapping},
    {"card_index": number(0, 9), "type": one_of("cta_url", "button", "product"), "header": _header, "body": _body(160)},
)


def _distinct_titles(value: Json, where: str) -> None:
    titles = [button["reply"]["title"] for button in value["buttons"]]
    ids = [button["reply"]["id"] for button in value["buttons"]]
    if len(set(titles)) < len(titles) or len(set(ids)) < len(ids):
        raise invalid(f"{where}['buttons']", "button titles and ids must be unique")


def _ten_rows(value: Json, where: str) -> None:
    rows = [row for section in value["sections"] for row in section["rows"]]
    if len(rows) > 10:
        raise invalid(f"{where}['sections']", f"total row count exceed max allowed count: 10, not {len(rows)}")
    if len({row["id"] for row in rows}) < len(rows):
        raise invalid(f"{where}['sections']", "row ids must be unique")
    if len(value["sections"]) > 1 and not all(section.get("title") for section in value["sections"]):
        raise missing(f"{where}['sections']['title']")


def _named_flow(value: Json, where: str) -> None:
    if not (value.get("flow_id") or value.get("flow_name")):
        raise missing(f"{where}['flow_id']")


def _action(name: str, parameters: Check = anything, *, needs: bool = False) -> Check:
    fields = {"parameters": parameters}
    return obj({"name": one_of(name), **(fields if needs else {})}, {} if needs else fields)


_FLOW = every(
    obj(
        {"flow_message_version": anything, "flow_cta": text(30)},
        {
            "flow_token": text(1024),
            "flow_id": anything,
            "flow_name": text(255),
            "mode": one_of("draft", "published"),
            "flow_action": one_of("navigate", "data_exchange"),
            "flow_action_payload": mapping,
        },
    ),
    _named_flow,
)

# sub-type: (header, body length, whether a body is needed, action)
_KINDS: dict[str, tuple[Check | None, int, bool, Check]] = {
    "button": (_header, 1024, True, every(obj({"buttons": array(_REPLY, 1, 3)}), _distinct_titles)),
    "list": (
        _TEXT_HEADER,
        4096,
        True,
        every(obj({"button": text(20), "sections": array(_SECTION, 1, 10)}), _ten_rows),
    ),
    "cta_url": (_header, 1024, True, _action("cta_url", _CTA, needs=True)),
    "location_request_message": (None, 1024, True, _action("send_location")),
    "product": (None, 1024, False, obj({"catalog_id": anything, "product_retailer_id": text(255)})),
    "product_list": (
        _TEXT_HEADER,
        1024,
        True,
        obj(
            {
                "catalog_id": anything,
                "sections": array(obj({"product_items": array(_PRODUCT, 1, 30)}, {"title": text(24, 0)}), 1, 10),
            }
        ),
    ),
    "catalog_message": (None, 1024, True, _action("catalog_message", mapping)),
    "flow": (_header, 1024, True, _action("flow", _FLOW, needs=True)),
    "call_permission_request": (None, 1024, False, _action("call_permission_request")),
    "request_contact_info": (None, 1024, True, _action("request_contact_info")),
    "voice_call": (_header, 1024, True, _action("voice_call", mapping)),
    "order_details": (_header, 1024, True, _action("review_and_pay", mapping, needs=True)),
    "order_status": (None, 1024, True, _action("review_order", mapping, needs=True)),
    "address_message": (_header, 1024, True, _action("address_message", mapping)),
    "carousel": (None, 1024, True, obj({"cards": array(_CARD, 2, 10)})),
}


def interactive(value: Any, where: str) -> None:
    """Check an interactive message."""
    mapping(value, where)
    kind = value.get("type")
    if kind is None:
        raise missing(f"{where}['type']")
    one_of(*_KINDS)(kind, f"{where}['type']")
    header, length, needs_body, action = _KINDS[kind.lower()]
    required = {"type": anything, "action": action}
    optional: dict[str, Check] = {"footer": _FOOTER}
    (required if needs_body else optional)["body"] = _body(length)
    if header is not None:
        (required if kind == "product_list" else optional)["header"] = header
    obj(required, optional)(value, where)
