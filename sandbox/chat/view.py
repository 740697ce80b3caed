"""What the chat page shows: customers, conversations and messages as JSON."""

import time
from typing import Any

import orjson

from sandbox.chats import Chat, Message
from sandbox.fields import Json
from sandbox.numbers import Number
from sandbox.parameters import rendered
from sandbox.people import Customer
from sandbox.world import World

LISTED = 150
_LABELS = {
    "image": "Photo",
    "video": "Video",
    "audio": "Voice message",
    "document": "Document",
    "sticker": "Sticker",
    "location": "Location",
    "contacts": "Contact",
    "template": "Template",
    "order": "Order",
    "system": "Number changed",
    "unsupported": "Unsupported message",
}


def customers(world: World, number: Number, search: str) -> list[Json]:
    """Return a number's customers, the one heard of last first."""
    found: list[Json] = []
    wanted = search.casefold()
    for chat in world.chats.recent(number.phone_number_id):
        who = chat.customer
        if wanted and wanted not in f"{who.name} +{who.phone} {who.username} {who.user_id}".casefold():
            continue
        found.append(customer(who, chat, world, number))
        if len(found) == LISTED:
            break
    return found


def customer(who: Customer, chat: Chat, world: World, number: Number) -> Json:
    """Return one customer with the state of the conversation."""
    last = next(reversed(chat.messages.values()), None)
    return {
        "key": who.key,
        "name": who.name,
        "phone": f"+{who.phone}" if who.phone else None,
        "username": who.username,
        "user_id": who.user_id,
        "hidden": who.hidden,
        "played": who.played,
        "blocked": chat.blocked,
        "shut_out": chat.shut_out,
        "stopped": chat.stopped,
        "unread": len(chat.unviewed) if who.played else 0,
        "typing": chat.typing_until > time.time(),
        "last": _last(last, world, number) if last else None,
    }


def message(shown: Message, world: World, number: Number) -> Json:
    """Return one message."""
    facts: Json = {
        "id": shown.id,
        "mine": shown.mine,
        "type": shown.type,
        "t": shown.t,
        "state": shown.state,
        "reactions": shown.reactions,
        "edited": shown.edited,
        "deleted": shown.deleted,
        "body": orjson.Fragment(b"{}" if shown.deleted else shown.body),
    }
    if shown.deleted:
        return facts
    body = orjson.loads(shown.body)
    part = body.get(shown.type)
    if shown.type == "template":
        facts["rendered"] = _rendered(body, world, number)
        part = facts["rendered"].get("header") if facts["rendered"] else None
        part = part.get(str(part.get("type")).lower()) if isinstance(part, dict) else None
    elif shown.type == "interactive" and isinstance(part, dict):
        header = part.get("header")
        part = header.get(str(header.get("type"))) if isinstance(header, dict) else None
    if isinstance(part, dict) and part.get("id"):
        medium = world.media.get(str(part["id"]))
        if medium is not None:
            facts["media"] = {"mime_type": medium.mime_type, "size": medium.size, "filename": medium.filename}
    return facts


def _last(shown: Message, world: World, number: Number) -> Json:
    mine = shown.mine and shown.type != "system"
    return {"mine": mine, "t": shown.t, "state": shown.state, "text": preview(shown, world, number)}


def preview(shown: Message, world: World, number: Number) -> str:
    """Return a message in a few words."""
    if shown.deleted:
        return "This message was deleted"
    body = orjson.loads(shown.body)
    part = body.get(shown.type)
    text: Any = None
    if shown.type == "template":
        text = (_rendered(body, world, number) or {}).get("body")
    elif isinstance(part, dict):
        reply = part.get(str(part.get("type")))
        inner = part.get("body")
        text = (
            (inner if isinstance(inner, str) else None)
            or (inner.get("text") if isinstance(inner, dict) else None)
            or part.get("caption")
            or part.get("text")
            or (reply.get("title") if isinstance(reply, dict) else None)
        )
    label = _LABELS.get(shown.type)
    if isinstance(text, str) and text:
        return (f"{label}: {text}" if label and shown.type not in ("template", "system") else text)[:120]
    return label or shown.type.replace("_", " ").capitalize()


def _rendered(body: Json, world: World, number: Number) -> Json | None:
    wanted = body["template"]
    found = world.templates.find(number.waba_id, wanted["name"], wanted["language"]["code"])
    return rendered(found, wanted.get("components") or []) if found else None
