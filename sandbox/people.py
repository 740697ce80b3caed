"""The customers: who they are, and how much of that the business is allowed to see."""

from collections.abc import Iterator
from typing import Any

from sandbox.fields import Json
from sandbox.names import name_for

KEYS = ("key", "phone", "user_id", "parent_user_id", "username", "name", "hidden", "played")


class Customer:
    """One person. `hidden` keeps the phone number out of webhooks; `played` means somebody plays them by hand."""

    __slots__ = (*KEYS, "chats")

    def __init__(self, **facts: Any) -> None:
        self.key: str = facts["key"]
        self.phone: str | None = facts.get("phone")
        self.user_id: str | None = facts.get("user_id")
        self.parent_user_id: str | None = facts.get("parent_user_id")
        self.username: str | None = facts.get("username")
        self.name: str = facts.get("name") or name_for(self.phone or self.key)
        self.hidden: bool = facts.get("hidden", False)
        self.played: bool = facts.get("played", False)
        self.chats = 0  # how many conversations they are in

    @property
    def address(self) -> str:
        """What identifies them: the phone number, else the user id."""
        return self.phone or self.user_id or self.key

    @property
    def wa_id(self) -> str | None:
        """The phone number the business may see."""
        return None if self.hidden else self.phone

    def contact(self) -> Json:
        """Return the `contacts` item of a webhook."""
        profile = {"name": self.name}
        if self.username:
            profile["username"] = self.username
        seen: Json = {"profile": profile}
        for key, value in (("wa_id", self.wa_id), ("user_id", self.user_id), ("parent_user_id", self.parent_user_id)):
            if value:
                seen[key] = value
        return seen

    def facts(self) -> Json:
        """Return every field, as a `customer` event holds them."""
        return {key: getattr(self, key) for key in KEYS}


class People:
    """All customers, found by key, phone number or user id."""

    def __init__(self) -> None:
        self._by_key: dict[str, Customer] = {}
        self._by_phone: dict[str, Customer] = {}
        self._by_user_id: dict[str, Customer] = {}

    def __iter__(self) -> Iterator[Customer]:
        return iter(tuple(self._by_key.values()))

    def get(self, key: str) -> Customer | None:
        """Return the customer with this key, or None."""
        return self._by_key.get(key)

    def find(self, phone: str | None, user_id: str | None = None) -> Customer | None:
        """Return whoever has this phone number or, failing that, this user id."""
        found = self._by_phone.get(phone) if phone else None
        return found or (self._by_user_id.get(user_id) if user_id else None)

    def meet(self, phone: str | None, user_id: str | None = None) -> Customer:
        """Return whoever has this phone number or user id; a stranger becomes a customer."""
        found = self.find(phone, user_id)
        if found is None:
            found = Customer(key=self.free_key(phone or user_id or ""), phone=phone, user_id=user_id)
            self._add(found)
        return found

    def free_key(self, address: str) -> str:
        """Return a key for a new customer; an address somebody else once had gets a suffix."""
        key, suffix = address, 1
        while key in self._by_key:
            suffix += 1
            key = f"{address}~{suffix}"
        return key

    def put(self, event: Json) -> Customer:
        """Apply a `customer` event: add or change one."""
        facts = event["customer"]
        old = self._by_key.get(facts["key"])
        if old is None:
            customer = Customer(**facts)
        else:
            self._unlist(old)
            for key, value in facts.items():
                setattr(old, key, value)
            customer = old
        self._add(customer)
        return customer

    def forget(self, customer: Customer) -> None:
        """Drop a customer."""
        self._by_key.pop(customer.key, None)
        self._unlist(customer)

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring every customer back."""
        return ({"k": "customer", "customer": customer.facts()} for customer in self)

    def _add(self, customer: Customer) -> None:
        self._by_key[customer.key] = customer
        if customer.phone:
            self._by_phone[customer.phone] = customer
        if customer.user_id:
            self._by_user_id[customer.user_id] = customer

    def _unlist(self, customer: Customer) -> None:
        if customer.phone and self._by_phone.get(customer.phone) is customer:
            del self._by_phone[customer.phone]
        if customer.user_id and self._by_user_id.get(customer.user_id) is customer:
            del self._by_user_id[customer.user_id]
