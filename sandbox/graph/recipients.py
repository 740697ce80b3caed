"""Whom a message is for: a phone number in any sane writing, a business-scoped user id, or a group."""

import re
from dataclasses import dataclass

from sandbox.errors import GraphError
from sandbox.fields import Json
from sandbox.graph.shape import invalid, missing
from sandbox.ids import BSUID, digits
from sandbox.numbers import Number
from sandbox.people import Customer, People

_WRITTEN = re.compile(r"\+?[\d\s().\-\u00a0]+")


@dataclass(slots=True)
class Recipient:
    """One recipient as the request names it; `customer` is who that is, if anybody is known by it."""

    named: str
    phone: str | None = None
    user: str | None = None
    group: str | None = None
    customer: Customer | None = None

    @property
    def address(self) -> str:
        """What it is logged under and what its limits count by."""
        return self.phone or self.user or self.group or self.named

    def answer(self) -> Json:
        """Return the `contacts` item of the answer."""
        contact = {"input": self.named}
        if self.phone:
            contact["wa_id"] = self.phone
        elif self.group:
            contact["wa_id"] = self.group
        if self.user:
            contact["user_id"] = self.user
        return contact

    def stranger(self) -> Customer:
        """Return who it would be if nobody is known by it."""
        return Customer(key=self.address, phone=self.phone, user_id=self.user)


def resolve(body: Json, number: Number, people: People) -> Recipient:
    """Read the recipient of a message.

    Raises:
        GraphError: it is missing, malformed, or the sender itself.
    """
    to, user = body.get("to"), body.get("recipient")
    if not to and not user:
        raise missing("to")
    if user is not None and (not isinstance(user, str) or not BSUID.fullmatch(user)):
        raise invalid("recipient", "is not a business-scoped user id")
    if str(body.get("recipient_type") or "").lower() == "group":
        return Recipient(named=str(to), group=str(to))
    if not to:
        return Recipient(named=str(user), user=user, customer=people.find(None, user))
    phone = _phone(to)
    if phone == number.phone:
        raise GraphError(131021, "The recipient is the sending number itself.")
    return Recipient(named=str(to), phone=phone, user=user, customer=people.find(phone, user))


def plain(named: object) -> str | None:
    """Return a recipient as the log and the faults know it: bare digits, or a user id as it is."""
    if isinstance(named, int) and not isinstance(named, bool):
        return str(named)
    if not isinstance(named, str) or not named:
        return None
    return digits(named) if _WRITTEN.fullmatch(named) else named


def _phone(to: object) -> str:
    written = str(to) if isinstance(to, int) and not isinstance(to, bool) else to
    if not isinstance(written, str) or not _WRITTEN.fullmatch(written):
        raise invalid("to", "is not a valid phone number")
    phone = digits(written)
    if not 7 <= len(phone) <= 15:
        raise invalid("to", "must have 7 to 15 digits")
    return phone
