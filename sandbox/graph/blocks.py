"""The users a business blocked: it hears nothing from them and cannot write to them."""

from typing import Any

from sandbox.errors import GraphError
from sandbox.fields import Json
from sandbox.graph.call import Call
from sandbox.graph.paging import page
from sandbox.ids import BSUID, digits

MOST = 64_000


def blocked(call: Call) -> Json:
    """Answer `GET /{phone_number_id}/block_users`."""
    number = call.number(call.parts[0])
    with call.world.lock:
        people = [chat.customer for chat in call.world.chats.recent(number.phone_number_id) if chat.shut_out]
    items = [
        {"messaging_product": "whatsapp", "input": customer.address}
        | ({"wa_id": customer.phone} if customer.phone else {})
        | ({"user_id": customer.user_id} if customer.user_id else {})
        for customer in people
    ]
    return page(call, items)


def block(call: Call) -> Json:
    """Answer `POST /{phone_number_id}/block_users`."""
    return _set(call, "added_users", value=True)


def unblock(call: Call) -> Json:
    """Answer `DELETE /{phone_number_id}/block_users`."""
    return _set(call, "removed_users", value=False)


def _set(call: Call, key: str, *, value: bool) -> Json:
    number = call.number(call.parts[0])
    body = call.body()
    if body.get("messaging_product") != "whatsapp":
        raise GraphError(100, message="(#100) The parameter messaging_product is required.")
    users = body.get("block_users")
    if not isinstance(users, list) or not users:
        raise GraphError(100, message="(#100) The parameter block_users is required.")
    changed: list[Json] = []
    failed: list[Json] = []
    for user in users:
        named = (user.get("user") or user.get("user_id")) if isinstance(user, dict) else None
        found = _address(named)
        if found is None:
            failed.append({"input": str(named), "errors": [{"message": "Invalid user", "code": 131021}]})
            continue
        phone, user_id = found
        _flag(call, number.phone_number_id, phone, user_id, value)
        changed.append({"input": named} | ({"wa_id": phone} if phone else {"user_id": user_id}))
    answer: Json = {key: changed}
    if failed:
        answer["failed_users"] = failed
    return {"messaging_product": "whatsapp", "block_users": answer}


def _flag(call: Call, number_id: str, phone: str | None, user_id: str | None, value: bool) -> None:
    world = call.world
    with world.lock:
        customer = world.people.find(phone, user_id)
        if customer is None:
            facts = {"key": world.people.free_key(phone or user_id or ""), "phone": phone, "user_id": user_id}
            customer = world.commit({"k": "customer", "customer": facts})
        event = {"k": "flag", "num": number_id, "customer": customer.key, "flag": "shut_out", "value": value}
        world.commit(event)


def _address(named: Any) -> tuple[str | None, str | None] | None:
    """Return the phone number or the user id that is meant."""
    text = str(named or "")
    if BSUID.fullmatch(text):
        return None, text
    phone = digits(text)
    return (phone, None) if 7 <= len(phone) <= 15 else None
