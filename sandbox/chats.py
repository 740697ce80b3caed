"""The conversations, seen from the customer's phone. Bounded: old messages and old chats nobody plays are dropped."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from sandbox.fields import Json
from sandbox.journal import raw
from sandbox.people import Customer, People
from sandbox.updates import Sent

PER_CHAT = 500
MESSAGES = 25_000
CHATS = 20_000
TYPING = 25.0

FLAGS = ("blocked", "shut_out", "stopped", "last_in")
KEPT = ("id", "mine", "type", "t", "state", "edited", "deleted")


class Message:
    """One message on the customer's phone; `mine` are the customer's own."""

    __slots__ = (*KEPT, "body", "reactions", "version")

    def __init__(self, **facts: Any) -> None:
        self.id: str = facts["id"]
        self.mine: bool = facts["mine"]
        self.type: str = facts["type"]
        self.t: float = facts["t"]
        self.body: bytes = raw(facts["body"])
        self.state: str = facts["state"]
        self.edited: bool = facts.get("edited", False)
        self.deleted: bool = facts.get("deleted", False)
        self.reactions: dict[str, str] | None = facts.get("reactions")
        self.version = 0


class Chat:
    """What one customer and one number said to each other.

    `blocked`: the customer blocked the business; `shut_out`: the business blocked the customer; `stopped`: the customer
    wants no marketing; `last_in`: when the customer last wrote, which opens the service window.
    """

    __slots__ = ("customer", "last_in", "messages", "number_id", "typing_until", "unviewed", "version", *FLAGS[:3])

    def __init__(self, number_id: str, customer: Customer) -> None:
        self.number_id = number_id
        self.customer = customer
        self.messages: OrderedDict[str, Message] = OrderedDict()
        self.unviewed: dict[str, Sent] = {}
        self.typing_until = 0.0
        self.last_in = 0.0
        self.blocked = self.shut_out = self.stopped = False
        self.version = 0


class Chats:
    """Every conversation, the one used last at the end."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._chats: OrderedDict[tuple[str, str], Chat] = OrderedDict()
        self._of_message: dict[str, Chat] = {}
        self.version = 0

    def get(self, number_id: str, customer: Customer) -> Chat | None:
        """Return a chat, or None before the first word."""
        return self._chats.get((number_id, customer.key))

    def open(self, number_id: str, customer: Customer) -> Chat:
        """Return a chat, new if need be, and make it the one used last."""
        key = (number_id, customer.key)
        chat = self._chats.get(key)
        if chat is None:
            chat = self._chats[key] = Chat(number_id, customer)
            customer.chats += 1
            self._make_room()
        self._chats.move_to_end(key)
        return chat

    def holding(self, message_id: str) -> Chat | None:
        """Return the chat a message is in, None when it is unknown or dropped."""
        return self._of_message.get(message_id)

    def recent(self, number_id: str) -> Iterator[Chat]:
        """Yield a number's chats, the one used last first."""
        return (chat for chat in reversed(self._chats.values()) if chat.number_id == number_id)

    def add(self, chat: Chat, message: Message) -> None:
        """Put a message at the end of a chat."""
        chat.messages[message.id] = message
        self._of_message[message.id] = chat
        self.touch(chat, message)
        while len(chat.messages) > PER_CHAT:
            self._drop(chat, next(iter(chat.messages)))
        self._make_room()

    def touch(self, chat: Chat, message: Message | None = None) -> None:
        """Mark a chat, and a message in it, as changed."""
        self.version += 1
        chat.version = self.version
        if message is not None:
            message.version = self.version

    def forget(self, customer: Customer) -> None:
        """Drop a customer and all their chats."""
        for key in [key for key in self._chats if key[1] == customer.key]:
            self._drop_chat(key)
        self._people.forget(customer)
        self.version += 1

    def restore(self, event: Json) -> None:
        """Apply a `chat` event: a chat's flags and messages, as a rewritten journal holds them."""
        customer = self._people.get(event["customer"])
        if customer is None:
            return
        chat = self.open(event["num"], customer)
        for flag in FLAGS:
            setattr(chat, flag, event[flag])
        chat.unviewed = {facts["id"]: Sent(facts) for facts in event["unviewed"]}
        for facts in event["messages"]:
            self.add(chat, Message(**facts))

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring every chat back."""
        for chat in self._chats.values():
            yield {
                "k": "chat",
                "num": chat.number_id,
                "customer": chat.customer.key,
                **{flag: getattr(chat, flag) for flag in FLAGS},
                "unviewed": [sent.facts() for sent in chat.unviewed.values()],
                "messages": [
                    {key: getattr(message, key) for key in (*KEPT, "body", "reactions")}
                    for message in chat.messages.values()
                ],
            }

    def _make_room(self) -> None:
        """Drop the chats used longest ago, but never the last one nor one that somebody plays."""
        while len(self._of_message) > MESSAGES or len(self._chats) > CHATS:
            oldest = next((key for key, chat in self._chats.items() if not chat.customer.played), None)
            if oldest is None or oldest == next(reversed(self._chats)):
                return
            customer = self._chats[oldest].customer
            self._drop_chat(oldest)
            if not customer.chats:
                self._people.forget(customer)

    def _drop_chat(self, key: tuple[str, str]) -> None:
        chat = self._chats.pop(key)
        chat.customer.chats -= 1
        for message_id in chat.messages:
            self._of_message.pop(message_id, None)

    def _drop(self, chat: Chat, message_id: str) -> None:
        del chat.messages[message_id]
        chat.unviewed.pop(message_id, None)
        self._of_message.pop(message_id, None)
