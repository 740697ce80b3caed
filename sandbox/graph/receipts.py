"""Read receipts and the typing indicator, which share an address with messages."""

import orjson
from flask import Response

from sandbox.fields import Json
from sandbox.graph import kinds
from sandbox.graph.call import Call
from sandbox.graph.shape import invalid
from sandbox.intake import cut, ordered, reply

ANSWER: Json = {"success": True}


def mark(call: Call) -> Response:
    """Answer `POST /{phone_number_id}/messages` with a status: mark as read, maybe show that somebody types."""
    world, intake = call.world, call.intake
    number = call.number(call.parts[0])
    body = call.body()
    kinds.RECEIPT(body, "")
    message_id = body["message_id"]
    chat = world.chats.holding(message_id)
    if not message_id.startswith("wamid.") or (chat is not None and chat.number_id != number.phone_number_id):
        raise invalid("message_id", "is not a message of this number")
    answer = orjson.dumps(ANSWER)
    status: int | None = 200
    response = reply(200, answer)
    if intake.effect.drop == "after":
        status, response = None, cut()
    elif intake.effect.refusal:
        response = ordered(intake.effect.refusal, answer)
        status = response.status_code
    intake.to = (chat.customer.phone or chat.customer.user_id) if chat else None
    with world.lock:
        facts = intake.facts("seen", status, answer, id=message_id, typing=bool(body.get("typing_indicator")))
        world.commit(facts)
    return response
