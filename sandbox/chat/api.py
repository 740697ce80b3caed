"""The JSON behind the chat page: one address to poll, and one for each thing a customer can do."""

import time
from typing import Any

import orjson
from flask import Response, request, send_file

from sandbox import fields
from sandbox.chat import blueprint, links, view
from sandbox.chats import Chat
from sandbox.control import answer, payload, world
from sandbox.fields import BadInput, Json
from sandbox.ids import BSUID, bsuid, digits
from sandbox.media_rules import LARGEST
from sandbox.numbers import Number
from sandbox.people import Customer
from sandbox.speech import change_number, flag, keep, prefer, speak
from sandbox.world import World

_ROOT = "/_sandbox/chat"
_NEW = ("phone_number_id", "name", "phone", "username", "user_id", "bsuid", "hidden")
_CHANGES = ("phone_number_id", "name", "blocked", "stopped", "phone")
_KINDS = {"image/jpeg": "image", "image/png": "image", "image/webp": "sticker"}


@blueprint.get(f"{_ROOT}/state")
def state() -> Response:
    """Give what changed since a version; `open` names the conversation on the screen, `visible` says it is seen."""
    here = world()
    number = here.numbers.named(request.args.get("number") or None)
    since = int(text) if (text := request.args.get("since", "0")).isdigit() else 0
    epoch = f"{here.started:.3f}"
    fresh = request.args.get("epoch") != epoch
    with here.lock:
        opened = _opened(here, number, request.args.get("open"))
        if opened is not None and request.args.get("visible"):
            _view(here, number, opened)
        version = here.chats.version
        shown: Json = {"epoch": epoch, "version": version, "health": here.outbox.health()}
        shown["faults"] = sum(1 for rule in here.faults if rule.times is None or rule.hits < rule.times)
        if fresh or version != since:
            shown["numbers"] = [
                {"id": each.phone_number_id, "name": each.verified_name, "phone": each.display_phone_number}
                for each in here.numbers
            ]
            shown["number"] = number.phone_number_id
            shown["customers"] = view.customers(here, number, request.args.get("q", ""))
        if opened is not None:
            shown["chat"] = _conversation(here, number, opened, since)
        return answer(shown)


@blueprint.post(f"{_ROOT}/customers")
def add() -> Response:
    """Add a customer to play."""
    here = world()
    given = fields.known(payload(), _NEW)
    number = here.numbers.named(fields.optional(given, "phone_number_id"))
    phone = _phone(given) if given.get("phone") else None
    user_id = fields.optional(given, "user_id")
    username = (fields.optional(given, "username") or "").lstrip("@") or None
    if user_id is not None and not BSUID.fullmatch(user_id):
        raise BadInput("user_id must look like US.13491208655302741918.", "user_id")
    if user_id is None and (username or phone is None or fields.flag(given, "bsuid", False)):
        user_id = bsuid(phone)
    hidden = fields.flag(given, "hidden", phone is None)
    if hidden and user_id is None:
        user_id = bsuid(phone)
    with here.lock:
        known = here.people.find(phone, user_id)
        facts: Json = {
            "key": known.key if known else here.people.free_key(phone or user_id or ""),
            "phone": phone,
            "user_id": user_id or (known.user_id if known else None),
            "username": username,
            "hidden": hidden,
            "played": True,
        }
        name = fields.optional(given, "name")
        if name:
            facts["name"] = name
        customer = here.commit({"k": "customer", "customer": facts})
        chat = here.chats.get(number.phone_number_id, customer)
        flag(here, number, customer, "blocked", chat.blocked if chat else False)
        return answer(_shown(here, number, customer), 201)


@blueprint.patch(f"{_ROOT}/customers/<key>")
def change(key: str) -> Response:
    """Rename a customer, block or unblock the business, stop or resume marketing, or change the number."""
    here = world()
    given = fields.known(payload(), _CHANGES)
    number = here.numbers.named(fields.optional(given, "phone_number_id"))
    customer = _customer(here, key)
    with here.lock:
        if given.get("name"):
            here.commit({"k": "customer", "customer": customer.facts() | {"name": fields.text(given, "name")}})
        if "blocked" in given:
            flag(here, number, customer, "blocked", fields.flag(given, "blocked", False))
        if "stopped" in given:
            prefer(here, number, customer, stop=fields.flag(given, "stopped", False))
        if given.get("phone"):
            change_number(here, number, customer, _phone(given))
        return answer(_shown(here, number, customer))


@blueprint.delete(f"{_ROOT}/customers/<key>")
def remove(key: str) -> Response:
    """Remove a customer and the conversations from the page."""
    world().commit({"k": "gone", "customer": _customer(world(), key).key})
    return answer({"removed": key})


@blueprint.post(f"{_ROOT}/messages")
def say() -> Response:
    """Let the customer on the screen say something."""
    given = fields.mapping(payload())
    _play(world(), _customer(world(), fields.text(given, "customer")))
    return answer({"id": speak(world(), given).id}, 201)


@blueprint.post(f"{_ROOT}/files")
def send() -> Response:
    """Let the customer on the screen send a file."""
    here = world()
    form, file = request.form, request.files.get("file")
    number = here.numbers.named(form.get("phone_number_id"))
    customer = _customer(here, form.get("customer", ""))
    if file is None:
        raise BadInput("A file is needed.", "file")
    data = file.read(LARGEST + 1)
    if not 0 < len(data) <= LARGEST:
        raise BadInput("The file must have 1 byte to 100 MB.", "file", 413)
    mime_type = file.mimetype or "application/octet-stream"
    kind = _kind(mime_type, form.get("as", ""))
    medium = keep(here, number, data, mime_type, file.filename)
    content: Json = {"id": medium.id}
    if kind == "audio":
        content["voice"] = form.get("as") == "voice"
    if kind == "document" and file.filename:
        content["filename"] = file.filename
    if form.get("caption") and kind in ("image", "video", "document"):
        content["caption"] = form["caption"]
    said: Json = {"phone_number_id": number.phone_number_id, "customer": customer.key, "type": kind, kind: content}
    if form.get("reply_to"):
        said["context"] = {"id": form["reply_to"]}
    _play(here, customer)
    return answer({"id": speak(here, said).id}, 201)


@blueprint.get(f"{_ROOT}/media/<media_id>")
def media(media_id: str) -> Response:
    """Show a file on the page."""
    here = world()
    medium = here.media.get(media_id)
    if medium is None or not here.media.path(medium).is_file():
        raise BadInput("There is no such file any more.", status=404)
    inline = medium.bare_type.partition("/")[0] in ("image", "video", "audio") and medium.bare_type != "image/svg+xml"
    name = medium.filename or f"file-{medium.id}"
    path = here.media.path(medium)
    response = send_file(path, medium.mime_type, as_attachment=not inline, download_name=name, conditional=True)
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    return response


@blueprint.get(f"{_ROOT}/link")
def link() -> Response:
    """Show a file that the business sent as a link, fetched the way Meta fetches it."""
    here = world()
    with here.lock:
        chat = here.chats.holding(request.args.get("message", ""))
        shown = chat.messages.get(request.args["message"]) if chat else None
        body = orjson.loads(shown.body) if shown else {}
    return links.fetched(body, request.args.get("url", ""))


def _opened(here: World, number: Number, key: str | None) -> Chat | None:
    customer = here.people.get(key) if key else None
    return here.chats.get(number.phone_number_id, customer) if customer else None


def _conversation(here: World, number: Number, chat: Chat, since: int) -> Json:
    changed = [item for item in chat.messages.values() if item.version > since]
    return {
        "customer": view.customer(chat.customer, chat, here, number),
        "messages": [view.message(item, here, number) for item in changed],
    }


def _view(here: World, number: Number, chat: Chat) -> None:
    """Let the customer's eyes fall on what has come: the business gets its read statuses."""
    now = time.time()
    waiting: list[list[Any]] = [
        [message_id, [here.outbox.uid(), round(now, 3), round(now, 3), "read", None]] for message_id in chat.unviewed
    ]
    if waiting and chat.customer.played:
        here.commit({"k": "viewed", "num": number.phone_number_id, "customer": chat.customer.key, "plan": waiting})


def _play(here: World, customer: Customer) -> None:
    if not customer.played:
        here.commit({"k": "customer", "customer": customer.facts() | {"played": True}})


def _customer(here: World, key: str) -> Customer:
    customer = here.people.get(key)
    if customer is None:
        raise BadInput("There is no such customer any more.", "customer", 404)
    return customer


def _shown(here: World, number: Number, customer: Customer) -> Json:
    chat = here.chats.open(number.phone_number_id, customer)
    return view.customer(customer, chat, here, number)


def _phone(given: Json) -> str:
    phone = digits(fields.text(given, "phone"))
    if not 7 <= len(phone) <= 15:
        raise BadInput("A phone number has 7 to 15 digits, with the country code.", "phone")
    return phone


def _kind(mime_type: str, wish: str) -> str:
    if wish == "document":
        return "document"
    return _KINDS.get(mime_type) or next(
        (kind for kind in ("video", "audio") if mime_type.startswith(f"{kind}/")), "document"
    )
