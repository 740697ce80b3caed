"""What webhooks say: message statuses, customers' messages, and everything else, in Meta's envelope.

Updates with the same `key` are about the same thing and go out in order. The bytes are ASCII: whatever is not is
escaped as backslash, u and four lower-case digits, as Meta does it, and the signature is over exactly these bytes.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from typing import Any

import orjson

from sandbox.errors import status_error
from sandbox.fields import Json
from sandbox.journal import raw
from sandbox.numbers import Number

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SENT = ("num", "id", "phone", "user", "contact", "biz", "pricing", "group")


class Sent:
    """What the statuses of one accepted message need to know of it."""

    __slots__ = _SENT

    def __init__(self, facts: Json) -> None:
        self.num: str = facts["num"]
        self.id: str = facts["id"]
        self.phone: str | None = facts.get("phone")
        self.user: str | None = facts.get("user")
        contact = facts.get("contact")
        self.contact: bytes | None = None if contact is None else raw(contact)
        self.biz: str | None = facts.get("biz")
        self.pricing: list[str] | None = facts.get("pricing")
        self.group: str | None = facts.get("group")

    def facts(self) -> Json:
        """Return every field."""
        return {key: getattr(self, key) for key in _SENT}


class Status:
    """One status of a message we accepted."""

    __slots__ = ("code", "due", "key", "name", "sent", "t", "uid")

    def __init__(self, sent: Sent, plan: list[Any]) -> None:
        self.uid: int = plan[0]
        self.due: float = plan[1]
        self.t: float = plan[2]
        self.name: str = plan[3]
        self.code: int | None = plan[4]
        self.sent = sent
        self.key = sent.id

    @property
    def num(self) -> str:
        """The number it belongs to."""
        return self.sent.num

    def contact(self) -> bytes | None:
        """Return whom it is about; failed statuses do not say."""
        return None if self.code else self.sent.contact

    def render(self) -> bytes:
        """Return the `statuses` item."""
        sent = self.sent
        item: Json = {"id": sent.id, "status": self.name, "timestamp": str(int(self.t))}
        if sent.group:
            item["recipient_id"] = sent.group
            item["recipient_type"] = "group"
        elif sent.phone:
            item["recipient_id"] = sent.phone
        if sent.user:
            item["recipient_user_id"] = sent.user
        if sent.biz is not None:
            item["biz_opaque_callback_data"] = sent.biz
        if sent.pricing and self.name in ("sent", "delivered"):
            kind, category = sent.pricing
            item["pricing"] = {
                "billable": kind == "regular",
                "pricing_model": "PMP",
                "type": kind,
                "category": category,
            }
        if self.code:
            item["errors"] = [status_error(self.code)]
        return orjson.dumps(item)

    def event(self) -> Json:
        """Return the event that brings a pending status back."""
        plan = [self.uid, self.due, self.t, self.name, self.code]
        return {"k": "pending", "sent": self.sent.facts(), "plan": plan}


class Spoken:
    """One message of a customer."""

    __slots__ = ("_contact", "due", "id", "key", "message", "num", "uid")

    def __init__(self, facts: Json, uid: int, due: float) -> None:
        self.uid = uid
        self.due = due
        self.num: str = facts["num"]
        self.id: str = facts["id"]
        self.key: str = facts["customer"]
        self.message = raw(facts["message"])
        contact = facts.get("contact")
        self._contact = None if contact is None else raw(contact)

    def contact(self) -> bytes | None:
        """Return who speaks; system messages do not say."""
        return self._contact

    def render(self) -> bytes:
        """Return the `messages` item."""
        return self.message

    def event(self) -> Json:
        """Return the event that brings a pending message back."""
        spoken: Json = {"num": self.num, "customer": self.key, "id": self.id}
        spoken |= {"message": self.message, "contact": self._contact}
        return {"k": "pending", "spoken": spoken, "uid": self.uid, "due": self.due}


class Field:
    """Any other webhook field with its value."""

    __slots__ = ("due", "field", "key", "num", "uid", "value")

    def __init__(self, facts: Json) -> None:
        self.uid: int = facts["uid"]
        self.due: float = facts["due"]
        self.num: str = facts["num"]
        self.field: str = facts["field"]
        self.key = self.field
        self.value = raw(facts["value"])

    def event(self) -> Json:
        """Return the event that brings it back."""
        facts = {"uid": self.uid, "due": self.due, "num": self.num, "field": self.field, "value": self.value}
        return {"k": "hook", **facts}


Update = Status | Spoken | Field


def envelope(number: Number, updates: Iterable[Update]) -> bytes:
    """Return the body of one webhook request that carries these updates of a number."""
    statuses = [update for update in updates if isinstance(update, Status)]
    spoken = [update for update in updates if isinstance(update, Spoken)]
    metadata = {"display_phone_number": number.phone, "phone_number_id": number.phone_number_id}
    changes: list[Json] = []
    for key, items in (("statuses", statuses), ("messages", spoken)):
        if items:
            value: Json = {"messaging_product": "whatsapp", "metadata": metadata}
            contacts = dict.fromkeys(contact for item in items if (contact := item.contact()))
            if contacts:
                value["contacts"] = [orjson.Fragment(contact) for contact in contacts]
            value[key] = [orjson.Fragment(item.render()) for item in items]
            changes.append({"value": value, "field": "messages"})
    changes += (
        {"value": orjson.Fragment(update.value), "field": update.field}
        for update in updates
        if isinstance(update, Field)
    )
    body = {"object": "whatsapp_business_account", "entry": [{"id": number.waba_id, "changes": changes}]}
    return escaped(orjson.dumps(body))


def escaped(body: bytes) -> bytes:
    """Return JSON with everything beyond ASCII escaped."""
    if body.isascii():
        return body
    return _NOT_ASCII.sub(lambda run: json.dumps(run.group())[1:-1], body.decode()).encode("ascii")


def signature(secret: str, body: bytes) -> str:
    """Return the value of `X-Hub-Signature-256` for these bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
