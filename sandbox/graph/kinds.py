"""The kinds of messages a business can send, and the shape and limits of each."""

from typing import Any

from sandbox.graph.interactive import interactive
from sandbox.graph.shape import Check, anything, array, boolean, invalid, link, missing, number, obj, one_of, text

_CAPTION = text(1024, 0)


def _medium(**more: Check) -> Check:
    shape = obj({}, {"id": anything, "link": link, **more})

    def check(value: Any, where: str) -> None:
        shape(value, where)
        if bool(value.get("id")) == bool(value.get("link")):
            raise invalid(where, "needs exactly one of id and link")

    return check


_SHORT = text(255, 0)
_NAME_PARTS = ("first_name", "last_name", "middle_name", "suffix", "prefix")
_NAME = obj({"formatted_name": text(255)}, dict.fromkeys(_NAME_PARTS, _SHORT))
_PHONE = obj({}, dict.fromkeys(("phone", "type", "wa_id", "user_id"), _SHORT))
_EMAIL = obj({}, dict.fromkeys(("email", "type"), _SHORT))
_URL = obj({}, {"url": text(2048, 0), "type": _SHORT})
_ADDRESS = obj({}, dict.fromkeys(("street", "city", "state", "zip", "country", "country_code", "type"), _SHORT))
_CONTACT = obj(
    {"name": _NAME},
    {
        "phones": array(_PHONE),
        "emails": array(_EMAIL),
        "urls": array(_URL),
        "addresses": array(_ADDRESS),
        "org": obj({}, dict.fromkeys(("company", "department", "title"), _SHORT)),
        "birthday": _SHORT,
    },
)


def _contact(value: Any, where: str) -> None:
    _CONTACT(value, where)
    if not any(value["name"].get(part) for part in _NAME_PARTS):
        raise missing(f"{where}['name']['first_name']")


_REACTION = obj({"message_id": text(512)}, {"emoji": text(32, 0)})


def _reaction(value: Any, where: str) -> None:
    _REACTION(value, where)
    if not value["message_id"].startswith("wamid."):
        raise invalid(f"{where}['message_id']", "is not a message id")


_COMPONENT = obj(
    {"type": text(40)},
    {"sub_type": text(40), "index": anything, "parameters": array(obj({}, closed=False))},
    closed=False,
)
_TEMPLATE = obj(
    {"name": text(512), "language": obj({"code": text(20)}, {"policy": one_of("deterministic")})},
    {"components": array(_COMPONENT, 0, 20), "namespace": anything},
)

KINDS: dict[str, Check] = {
    "text": obj({"body": text(4096, code=100)}, {"preview_url": boolean}),
    "image": _medium(caption=_CAPTION),
    "video": _medium(caption=_CAPTION),
    "document": _medium(caption=_CAPTION, filename=text(240)),
    "audio": _medium(voice=boolean),
    "sticker": _medium(),
    "location": obj(
        {"latitude": number(-90, 90), "longitude": number(-180, 180)},
        {"name": text(1000, 0), "address": text(1000, 0)},
    ),
    "contacts": array(_contact, 1, 257),
    "reaction": _reaction,
    "interactive": interactive,
    "template": _TEMPLATE,
}
MEDIA = ("image", "video", "document", "audio", "sticker")

_ENVELOPE: dict[str, Check] = {
    "messaging_product": one_of("whatsapp"),
    "recipient_type": one_of("individual", "group"),
    "to": anything,
    "recipient": anything,
    "type": one_of(*KINDS),
    "context": obj({"message_id": text(512)}),
    "biz_opaque_callback_data": text(512, 0),
    "recipient_identity_key_hash": text(255),
    "message_activity_sharing": boolean,
    "product_policy": one_of("cloud_api_fallback", "strict"),
    **KINDS,
}
_MESSAGE = obj({"messaging_product": _ENVELOPE["messaging_product"]}, _ENVELOPE)
RECEIPT = obj(
    {"messaging_product": _ENVELOPE["messaging_product"], "status": one_of("read"), "message_id": text(512)},
    {"typing_indicator": obj({"type": one_of("text")})},
)


def message(body: Any) -> str:
    """Check a message and return its kind."""
    _MESSAGE(body, "")
    kind = str(body.get("type") or "text").lower()
    if body.get(kind) is None:
        raise missing(kind)
    if kind == "reaction" and body.get("context"):
        raise invalid("context", "a reaction cannot be a reply")
    return kind
