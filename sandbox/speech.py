"""Customers speaking: a message in Meta's shape goes into the chat and, unless nobody listens, out as a webhook."""

import random
import threading
import time
from base64 import b64decode
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from sandbox import fields
from sandbox.faults import Effect
from sandbox.fields import BadInput, Json
from sandbox.ids import BSUID, bsuid, digits, wamid
from sandbox.media import Media
from sandbox.numbers import Number
from sandbox.people import Customer
from sandbox.world import World

WHO = ("phone_number_id", "customer", "from", "user_id", "parent_user_id", "username", "name")
MEDIA = ("image", "video", "audio", "document", "sticker")
_CONTENT = (*MEDIA, "text", "location", "contacts", "button", "interactive", "reaction", "order", "system")
_MEDIA_TYPES = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}


@dataclass(slots=True)
class Spoke:
    """A message that was said, and what to wait for until every webhook of it is acknowledged."""

    id: str
    waiters: list[threading.Event] = field(default_factory=list)

    def heard(self, deadline: float) -> bool:
        """Wait until the web app has acknowledged the message."""
        return all(waiter.wait(max(0.0, deadline - time.monotonic())) for waiter in self.waiters)


def speak(world: World, given: Any, *, wait: bool = False) -> Spoke:
    """Let a customer say something.

    Raises:
        BadInput: the number, the customer or the message cannot be used.
    """
    given = fields.mapping(given)
    number = world.numbers.named(fields.optional(given, "phone_number_id"))
    with world.lock:
        customer, hidden = _who(world, given)
        message = _message(world, number, customer, hidden, given)
        effect = world.faults.meet("inbound", "/_sandbox/inbound", customer.address)
        chat = world.chats.get(number.phone_number_id, customer)
        silent = effect.silent or bool(effect.drop) or (chat is not None and chat.shut_out)
        spoke = Spoke(message["id"])
        plan = [] if silent else _plan(world, effect)
        if wait:
            spoke.waiters = [world.outbox.waiter(uid) for uid, _ in plan]
        event: Json = {
            "k": "said",
            "num": number.phone_number_id,
            "customer": customer.key,
            "id": message["id"],
            "at": float(message["timestamp"]),
            "message": orjson.dumps(message),
            "contact": None if message["type"] == "system" else orjson.dumps(_contact(customer, hidden)),
            "plan": plan,
        }
        if effect.rules:
            event["faults"] = effect.rules
        world.commit(event)
    return spoke


def change_number(world: World, number: Number, customer: Customer, phone: str) -> Spoke:
    """Give a customer another phone number; whoever has a user id gets a new one of those as well."""
    if world.people.find(phone) is not None:
        raise BadInput("Another customer has this phone number.", "phone", 409)
    fresh = bsuid(phone) if customer.user_id else None
    system: Json = {
        "body": f"User {customer.name} changed from {customer.phone or customer.user_id} to {phone}",
        "wa_id": phone,
        "type": "user_changed_number",
    }
    if fresh:
        system["user_id"] = fresh
    said = {"phone_number_id": number.phone_number_id, "customer": customer.key, "type": "system", "system": system}
    with world.lock:
        spoke = speak(world, said)
        facts = customer.facts() | {"phone": phone, "user_id": fresh or customer.user_id}
        world.commit({"k": "customer", "customer": facts})
    return spoke


def prefer(world: World, number: Number, customer: Customer, *, stop: bool) -> None:
    """Let a customer stop or resume marketing messages of a number."""
    who = {key: value for key, value in customer.contact().items() if key != "profile"}
    preference = who | {
        "detail": f"User requested to {'stop' if stop else 'resume'} marketing messages",
        "category": "marketing_messages",
        "value": "stop" if stop else "resume",
        "timestamp": int(time.time()),
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": number.phone, "phone_number_id": number.phone_number_id},
        "contacts": [customer.contact()],
        "user_preferences": [preference],
    }
    flag(world, number, customer, "stopped", stop)
    hook(world, number, "user_preferences", orjson.dumps(value))


def flag(world: World, number: Number, customer: Customer, name: str, value: bool) -> None:
    """Set a flag of the conversation."""
    event = {"k": "flag", "num": number.phone_number_id, "customer": customer.key, "flag": name, "value": value}
    world.commit(event)


def hook(world: World, number: Number, name: str, value: bytes, due: float | None = None) -> int:
    """Send a webhook of any field."""
    with world.lock:
        uid = world.outbox.uid()
        facts = {"uid": uid, "due": due or round(time.time(), 3), "num": number.phone_number_id}
        world.commit({"k": "hook", **facts, "field": name, "value": value})
    return uid


def keep(world: World, number: Number, data: bytes, mime_type: str, filename: str | None) -> Media:
    """Store a customer's file."""
    saved = world.media.save(data, waba_id=number.waba_id, mime_type=mime_type, filename=filename, by="customer")
    world.commit({"k": "media", "media": asdict(saved)})
    return saved


def _who(world: World, given: Json) -> tuple[Customer, bool]:
    """Return who speaks, and whether the business sees their phone number."""
    key = fields.optional(given, "customer")
    if key is not None:
        known = world.people.get(key)
        if known is None:
            raise BadInput(f"There is no customer {key!r}.", "customer", 404)
        return known, known.hidden
    phone, user_id = fields.optional(given, "from"), fields.optional(given, "user_id")
    if phone is None and user_id is None:
        raise BadInput("from or user_id says who speaks.", "from")
    if phone is not None:
        phone = digits(phone)
        if not 5 <= len(phone) <= 18:
            raise BadInput("from must be a phone number.", "from")
    if user_id is not None and not BSUID.fullmatch(user_id):
        raise BadInput("user_id must look like US.13491208655302741918.", "user_id")
    customer = world.people.find(phone, user_id)
    facts = {"phone": phone, "user_id": user_id}
    facts |= {name: fields.optional(given, name) for name in ("name", "username", "parent_user_id")}
    changes = {name: value for name, value in facts.items() if value}
    if customer is None:
        changes["key"] = world.people.free_key(phone or user_id or "")
        customer = world.commit({"k": "customer", "customer": changes})
    elif any(getattr(customer, name) != value for name, value in changes.items()):
        customer = world.commit({"k": "customer", "customer": customer.facts() | changes})
    return customer, phone is None


def _message(world: World, number: Number, customer: Customer, hidden: bool, given: Json) -> Json:
    """Return the message as a webhook carries it."""
    kind = fields.text(given, "type")
    content = {key: value for key, value in given.items() if key not in WHO and value is not None}
    if kind in _CONTENT and not isinstance(content.get(kind), list if kind == "contacts" else dict):
        raise BadInput(f"A message of type {kind} needs {kind}, as Meta shapes it.", kind)
    if kind == "text" and not isinstance(content["text"].get("body"), str):
        raise BadInput("text.body must be a string.", "text")
    message: Json = {}
    if customer.phone and not hidden:
        message["from"] = customer.phone
    if customer.user_id:
        message["from_user_id"] = customer.user_id
    if customer.parent_user_id:
        message["from_parent_user_id"] = customer.parent_user_id
    message["id"] = fields.text(given, "id", wamid(customer.address, by_customer=True))
    message["timestamp"] = _timestamp(given)
    message["type"] = kind
    message |= {key: value for key, value in content.items() if key not in message}
    context = message.get("context")
    if isinstance(context, dict) and context.get("id") and not context.get("from"):
        message["context"] = {"from": _author(world, number, customer, str(context["id"])), **context}
    if kind in MEDIA:
        message[kind] = _medium(world, number, kind, message[kind])
    return message


def _author(world: World, number: Number, customer: Customer, message_id: str) -> str:
    chat = world.chats.holding(message_id)
    quoted = chat.messages.get(message_id) if chat else None
    return customer.address if quoted is not None and quoted.mine else number.phone


def _timestamp(given: Json) -> str:
    found = given.get("timestamp")
    if found is None:
        return str(int(time.time()))
    text = str(found)
    if not text.isdigit() or len(text) > 12:
        raise BadInput("timestamp must be Unix seconds.", "timestamp")
    return text


def _medium(world: World, number: Number, kind: str, given: Json) -> Json:
    """Return the media object of a webhook; bytes given inline are stored, a known id is completed."""
    rest = {key: value for key, value in given.items() if key not in ("data_base64", "mime_type")}
    medium: Media | None
    if "data_base64" in given:
        try:
            data = b64decode(str(given["data_base64"]), validate=True)
        except ValueError:
            raise BadInput("data_base64 is not base64.", kind) from None
        mime_type = fields.text(given, "mime_type", _MEDIA_TYPES[kind])
        medium = keep(world, number, data, mime_type, fields.optional(given, "filename"))
    else:
        medium = world.media.get(str(given.get("id")))
    return given if medium is None else {**medium.for_webhook(), **rest, "id": medium.id}


def _contact(customer: Customer, hidden: bool) -> Json:
    contact = customer.contact()
    if hidden:
        contact.pop("wa_id", None)
    elif customer.phone:
        contact["wa_id"] = customer.phone
    return contact


def _plan(world: World, effect: Effect) -> list[list[Any]]:
    """Return the webhooks to come: number and when to send."""
    due = time.time() + effect.late + (random.uniform(0.2, 0.6) if effect.reorder else 0)
    return [[world.outbox.uid(), round(due, 3)] for _ in range(effect.copies)]
