"""Sending: a message is checked as Meta checks it, accepted under a new id, and its statuses are planned."""

import time
from typing import Any

import orjson
from flask import Response

from sandbox.errors import CODES, GraphError, coded
from sandbox.faults import Effect
from sandbox.fields import Json
from sandbox.graph import kinds
from sandbox.graph.call import Call
from sandbox.graph.recipients import Recipient, resolve
from sandbox.graph.shape import invalid
from sandbox.ids import wamid
from sandbox.intake import cut, ordered, reply
from sandbox.limits import Attempt
from sandbox.media_rules import fits
from sandbox.numbers import Number
from sandbox.parameters import check
from sandbox.people import Customer
from sandbox.templates import Template
from sandbox.timing import Step, schedule
from sandbox.world import World

WINDOW = 86_400
_LIMIT_CODES = {"messages_per_second": 130429, "per_minute": 130429, "pair": 131056, "unique_per_day": 131048}
_REGULAR, _FREE = "regular", "free_customer_service"


def send(call: Call) -> Response:
    """Answer `POST /{phone_number_id}/messages`."""
    return _send(call)


def send_marketing(call: Call) -> Response:
    """Answer `POST /{phone_number_id}/marketing_messages`: templates only, and of that category."""
    return _send(call, lite=True)


def _send(call: Call, *, lite: bool = False) -> Response:
    world = call.world
    number = call.number(call.parts[0])
    if not number.registered:
        raise coded(133010)
    body = call.body()
    kind = kinds.message(body)
    recipient = resolve(body, number, world.people)
    call.intake.to = recipient.address
    template = _template(world, number, body, recipient) if kind == "template" else None
    if lite and (template is None or template.category != "MARKETING"):
        raise coded(131055)
    chat = world.chats.get(number.phone_number_id, recipient.customer) if recipient.customer else None
    if chat is not None and chat.shut_out:
        raise coded(130403)
    failure = call.intake.effect.status_code or _medium_problem(world, number, kind, body)
    since = call.intake.t - (chat.last_in if chat else 0)
    if failure is None and chat is not None and chat.blocked:
        failure = 131026
    if failure is None and chat is not None and chat.stopped and template and template.category == "MARKETING":
        failure = 131050
    if failure is None and world.limits.enforce_window and template is None and since > WINDOW:
        failure = 131047
    pricing = _pricing(template, since <= WINDOW, lite=lite)
    return _accept(call, number, recipient, kind, failure, pricing, outside=since > WINDOW)


def _accept(
    call: Call,
    number: Number,
    recipient: Recipient,
    kind: str,
    failure: int | None,
    pricing: list[str],
    *,
    outside: bool,
) -> Response:
    """Take a message on: the answer, its log entry and its statuses are one event."""
    world, intake, effect = call.world, call.intake, call.intake.effect
    message: Json = {"id": wamid(recipient.address)}
    if kind == "template":
        message["message_status"] = "accepted"
    if recipient.group:
        message["group_id"] = recipient.group
    answer = orjson.dumps({"messaging_product": "whatsapp", "contacts": [recipient.answer()], "messages": [message]})
    status: int | None = 200
    response = reply(200, answer)
    if effect.drop == "after":
        status, response = None, cut()
    elif effect.refusal:
        response = ordered(effect.refusal, orjson.dumps(coded(effect.refusal.get("error_code", 131000)).body()))
        status = response.status_code
    customer = recipient.customer or recipient.stranger()
    with world.lock:
        intake.t = time.time()
        attempt = Attempt(number.phone_number_id, number.waba_id, recipient.address, intake.t, outside)
        broken = world.gate.broken(world.limits, attempt)
        if broken is not None and world.limits.enforce:
            code = _LIMIT_CODES[broken]
            raise GraphError(code, CODES[code][2], limit=broken)
        facts = intake.facts("sent", status, answer, num=number.phone_number_id, id=message["id"], type=kind)
        facts["dialled"] = recipient.phone
        facts["phone"] = recipient.phone or customer.wa_id
        facts["user"] = customer.user_id or recipient.user
        facts["group"] = recipient.group
        facts["contact"] = None if recipient.group else orjson.dumps(_contact(customer, recipient))
        facts["pricing"] = pricing
        facts["shown"] = failure is None
        facts["plan"] = _plan(world, effect, intake.t, failure, by_hand=customer.played)
        if status is None:
            facts["cut"] = True
        if broken is not None:
            facts["limit"] = broken
        world.commit(facts)
    return response


def _contact(customer: Customer, recipient: Recipient) -> Json:
    """Return whom the statuses are about; a number that the business dialled is no secret."""
    contact = customer.contact()
    return contact | {"wa_id": recipient.phone} if recipient.phone else contact


def _plan(world: World, effect: Effect, t: float, failure: int | None, *, by_hand: bool) -> list[list[Any]]:
    """Return the statuses to come: number, when to send, when it happened, name, error code."""
    timing = world.limits.statuses
    steps: list[Step] = [("sent", timing.sent_ms), ("delivered", timing.delivered_ms)]
    if failure is not None:
        steps = [("failed", timing.delivered_ms)]
    elif timing.auto_read and not by_hand:
        steps.append(("read", timing.read_ms))
    return [[world.outbox.uid(), due, moment, name, failure] for name, due, moment in schedule(effect, t, steps)]


def _template(world: World, number: Number, body: Json, recipient: Recipient) -> Template:
    """Return the template of a message whose parameters fit it."""
    wanted = body["template"]
    template = world.templates.sendable(number.waba_id, wanted["name"], wanted["language"]["code"])
    if template.category == "AUTHENTICATION" and not recipient.phone:
        raise coded(131062)
    check(template, wanted.get("components") or [])
    return template


def _medium_problem(world: World, number: Number, kind: str, body: Json) -> int | None:
    """Return the error that a message's uploaded file will end in.

    Raises:
        GraphError: there is no such file.
    """
    if kind not in kinds.MEDIA or not body[kind].get("id"):
        return None
    medium = world.media.get(str(body[kind]["id"]))
    if medium is None or medium.waba_id != number.waba_id:
        raise invalid(f"{kind}['id']", "no media with this id, or it has expired")
    return None if fits(kind, medium) else 131053


def _pricing(template: Template | None, inside: bool, *, lite: bool) -> list[str]:
    """Return the pricing type and category; what is free inside the service window is marked so."""
    if template is None:
        return [_FREE, "service"]
    category = template.category.lower()
    if lite:
        return [_REGULAR, "marketing_lite"]
    return [_FREE if inside and category == "utility" else _REGULAR, category]
