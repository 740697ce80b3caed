"""What each kind of event does to the world. A reducer decides nothing: the same events give the same world again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from sandbox import limits
from sandbox.callbacks import Callback
from sandbox.chats import TYPING, Chat, Message
from sandbox.fields import Json
from sandbox.gateways import accounts
from sandbox.updates import Field, Sent, Spoken, Status

if TYPE_CHECKING:
    from sandbox.world import World


def entry(world: World, event: Json) -> None:
    """A request was answered, and nothing else came of it."""
    world.log.add(event)
    world.stats.received(event)
    _recount(world, event)


def sent(world: World, event: Json) -> None:
    """A message of the business was accepted."""
    body = world.log.add(event).body
    world.stats.sent(event)
    _recount(world, event)
    message = Sent(event)
    for plan in event["plan"]:
        world.outbox.put(Status(message, plan))
    if message.group:
        return
    chat = world.chats.open(message.num, world.people.meet(event.get("dialled"), message.user))
    chat.typing_until = 0.0
    if not event["shown"]:
        world.chats.touch(chat)
    elif event["type"] == "reaction":
        _react(world, chat, orjson.loads(body)["reaction"], "business")
    else:
        if event["plan"] and not any(plan[3] == "read" for plan in event["plan"]):
            chat.unviewed[message.id] = message
        kind = event["type"]
        shown = Message(id=message.id, mine=False, type=kind, t=event["t"], body=body, state="sent")
        world.chats.add(chat, shown)


def took(world: World, event: Json) -> None:
    """A gateway or the SMTP server accepted a message."""
    world.log.add(event)
    world.stats.took(event)
    _recount(world, event)
    world.register.took(event)
    if event.get("mail"):
        world.mailbox.put(event["mail"])
    for call in event["calls"]:
        world.outbox.put(Callback(call))


def hooked(world: World, event: Json) -> None:
    """A request came to one of the webhook receivers."""
    entry(world, event)
    world.hooks.take(event)


def set_accounts(world: World, event: Json) -> None:
    """The gateways' accounts were changed."""
    world.accounts = accounts.restore(event, world.default_accounts)


def said(world: World, event: Json) -> None:
    """A customer said something."""
    _recount(world, event)
    world.stats.totals["inbound"] += 1
    customer = world.people.get(event["customer"])
    if customer is not None:
        chat = world.chats.open(event["num"], customer)
        chat.last_in = max(chat.last_in, event["at"])
        _show(world, chat, event)
    for uid, due in event["plan"]:
        world.outbox.put(Spoken(event, uid, due))


def _show(world: World, chat: Chat, event: Json) -> None:
    """Let the customer's own phone show what they did."""
    message = event["message"]
    if isinstance(message, bytes):
        message = orjson.loads(message)
    kind = message.get("type")
    found = message.get(kind) if isinstance(kind, str) else None
    part: Json = found if isinstance(found, dict) else {}
    changed = chat.messages.get(str(part.get("original_message_id")))
    if kind == "reaction":
        _react(world, chat, part, "me")
    elif kind == "revoke" and changed is not None:
        changed.deleted = True
        world.chats.touch(chat, changed)
    elif kind == "edit" and changed is not None and isinstance(part.get("message"), dict):
        changed.body = orjson.dumps(orjson.loads(changed.body) | part["message"])
        changed.edited = True
        world.chats.touch(chat, changed)
    else:
        state = "sending" if event["plan"] else "unheard"
        own = Message(id=event["id"], mine=True, type=str(kind), t=event["at"], body=event["message"], state=state)
        world.chats.add(chat, own)


def _react(world: World, chat: Chat, reaction: Json, who: str) -> None:
    message = chat.messages.get(str(reaction.get("message_id")))
    if message is None:
        return
    reactions = dict(message.reactions or {})
    if reaction.get("emoji"):
        reactions[who] = str(reaction["emoji"])
    else:
        reactions.pop(who, None)
    message.reactions = reactions or None
    world.chats.touch(chat, message)


def seen(world: World, event: Json) -> None:
    """The business marked a message, and with it the earlier ones, as read."""
    entry(world, event)
    chat = world.chats.holding(event["id"])
    if chat is None:
        return
    if event.get("typing"):
        chat.typing_until = event["t"] + TYPING
    world.chats.touch(chat)
    reached = False
    for message in reversed(chat.messages.values()):
        reached |= message.id == event["id"]
        if reached and message.mine:
            if message.state == "read":
                break
            message.state = "read"
            world.chats.touch(chat, message)


def viewed(world: World, event: Json) -> None:
    """A customer looked at messages of the business."""
    customer = world.people.get(event["customer"])
    chat = world.chats.get(event["num"], customer) if customer else None
    if chat is None:
        return
    for message_id, plan in event["plan"]:
        message = chat.unviewed.pop(message_id, None)
        if message is not None:
            world.outbox.put(Status(message, plan))
    world.chats.touch(chat)


def done(world: World, event: Json) -> None:
    """The web app acknowledged a webhook request."""
    world.stats.totals["posts"] += 1
    for update in world.outbox.delivered(event["u"]):
        world.stats.totals["delivered"] += 1
        if isinstance(update, Spoken):
            chat = world.chats.holding(update.id)
            message = chat.messages[update.id] if chat else None
            if chat and message and message.state == "sending":
                message.state = "delivered"
                world.chats.touch(chat, message)


def failed(world: World, event: Json) -> None:
    """A webhook request was refused or not answered."""
    world.stats.totals["failed_attempts"] += 1


def pending(world: World, event: Json) -> None:
    """An update was still waiting when the journal was rewritten."""
    if "sent" in event:
        world.outbox.put(Status(Sent(event["sent"]), event["plan"]))
    else:
        world.outbox.put(Spoken(event["spoken"], event["uid"], event["due"]))


def flag(world: World, event: Json) -> None:
    """A customer or the business blocked the other, or the customer's wish for marketing changed."""
    customer = world.people.get(event["customer"])
    if customer is not None:
        chat = world.chats.open(event["num"], customer)
        setattr(chat, event["flag"], event["value"])
        world.chats.touch(chat)


def customer(world: World, event: Json) -> Any:
    """A customer was added or changed."""
    world.chats.version += 1
    return world.people.put(event)


def gone(world: World, event: Json) -> None:
    """A customer was removed."""
    customer = world.people.get(event["customer"])
    if customer is not None:
        world.chats.forget(customer)


def set_limits(world: World, event: Json) -> None:
    """The limits were replaced."""
    world.outbox.limits = limits.parse(event["limits"])


def _recount(world: World, event: Json) -> None:
    """Hits were counted when they happened; a replay counts them again."""
    if world.replaying and event.get("faults"):
        world.faults.recount(event["faults"])


REDUCERS: dict[str, Callable[[World, Json], Any]] = {
    "entry": entry,
    "sent": sent,
    "said": said,
    "seen": seen,
    "viewed": viewed,
    "done": done,
    "failed": failed,
    "flag": flag,
    "customer": customer,
    "gone": gone,
    "limits": set_limits,
    "took": took,
    "opted": lambda world, event: world.register.opt(event),
    "register": lambda world, event: world.register.restore(event),
    "gateways": set_accounts,
    "callback": lambda world, event: world.outbox.put(Callback(event)),
    "mail": lambda world, event: world.mailbox.restore(event),
    "hooked": hooked,
    "hook_rule": lambda world, event: world.hooks.rule(event),
    "hooks": lambda world, event: world.hooks.restore(event),
    "hook": lambda world, event: world.outbox.put(Field(event)),
    "pending": pending,
    "media": lambda world, event: world.media.put(event),
    "media_gone": lambda world, event: world.media.remove(event),
    "template": lambda world, event: world.templates.put(event),
    "template_gone": lambda world, event: world.templates.remove(event),
    "number": lambda world, event: world.numbers.put(event),
    "faults": lambda world, event: world.faults.put(event),
    "restored": lambda world, event: world.log.add(event),
    "chat": lambda world, event: world.chats.restore(event),
    "counters": lambda world, event: world.stats.restore(event),
}
