"""Webhooks as WhatsApp sends them, made from scratch: the envelope, the things in it, the signature."""

import hashlib
import hmac
import itertools
import json
from collections.abc import Iterable
from typing import Any

from tests.fixtures import Demo

NOON = 1_790_000_000
_numbers = itertools.count(1)
Json = dict[str, Any]


def wamid(text: str = "") -> str:
    """Return a message id that no other test uses."""
    return f"wamid.{text or 'T'}{next(_numbers):06d}="


def envelope(*changes: Json, waba_id: str = "102290129340398") -> Json:
    """Return a whole webhook of these changes."""
    return {"object": "whatsapp_business_account", "entry": [{"id": waba_id, "changes": list(changes)}]}


def change(demo: Demo, value: Json, field: str = "messages") -> Json:
    """Return one change of a number."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": demo.phone_number_id}
    return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}


def told(demo: Demo, *, messages: Iterable[Json] = (), statuses: Iterable[Json] = (), contacts: Any = None) -> Json:
    """Return a webhook with messages and statuses; contacts are made to fit unless they are given."""
    messages, statuses = list(messages), list(statuses)
    value: Json = {}
    if contacts is None:
        contacts = [contact(wa_id) for wa_id in dict.fromkeys(m["from"] for m in messages if "from" in m)]
    if contacts:
        value["contacts"] = contacts
    if messages:
        value["messages"] = messages
    if statuses:
        value["statuses"] = statuses
    return envelope(change(demo, value), waba_id=demo.waba_id)


def contact(wa_id: str | None = None, user_id: str | None = None, name: str = "Ann", **more: Any) -> Json:
    """Return an item of `contacts`."""
    found = {"profile": {"name": name, **more}, "wa_id": wa_id, "user_id": user_id}
    return {key: value for key, value in found.items() if value is not None}


def message(sender: str | None = "15550001111", *, type: str = "text", at: Any = NOON, **content: Any) -> Json:
    """Return an item of `messages`; without content it is a text."""
    made: Json = {"from": sender, "id": content.pop("id", None) or wamid(), "timestamp": str(at), "type": type}
    if sender is None:
        del made["from"]
    if type == "text" and "text" not in content:
        content["text"] = {"body": "Hello"}
    return made | content


def text(body: str, sender: str | None = "15550001111", **more: Any) -> Json:
    """Return a text message."""
    return message(sender, text={"body": body}, **more)


def status(provider_id: str, name: str, *, at: Any = NOON, to: str | None = "15550001111", **more: Any) -> Json:
    """Return an item of `statuses`."""
    made = {"id": provider_id, "status": name, "timestamp": str(at), "recipient_id": to, **more}
    return {key: value for key, value in made.items() if value is not None}


def raw(payload: Json) -> bytes:
    """Return a body as Meta writes it: one line, everything beyond ASCII escaped."""
    return json.dumps(payload, separators=(",", ":")).encode()


def signature(secret: str, body: bytes) -> str:
    """Return the value of X-Hub-Signature-256."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(secret: str, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook."""
    return {"X-Hub-Signature-256": signature(secret, body), "Content-Type": "application/json"}
