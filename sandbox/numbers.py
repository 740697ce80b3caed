"""The business phone numbers. Each has its own token, secret and webhook address, as numbers of several apps do."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from sandbox import fields
from sandbox.fields import BadInput, Json
from sandbox.ids import digits

KEYS = (
    "phone_number_id",
    "waba_id",
    "display_phone_number",
    "verified_name",
    "access_token",
    "app_secret",
    "webhook_url",
)


@dataclass(slots=True)
class Number:
    """One business phone number."""

    phone_number_id: str
    waba_id: str
    display_phone_number: str
    verified_name: str
    access_token: str = field(repr=False)
    app_secret: str = field(repr=False)
    webhook_url: str
    override_url: str | None = None
    registered: bool = True
    scripted: bool = False
    profile: Json = field(default_factory=dict)

    @property
    def phone(self) -> str:
        """Its digits."""
        return digits(self.display_phone_number)

    @property
    def target(self) -> str:
        """Where its webhooks go."""
        return self.override_url or self.webhook_url

    def public(self) -> Json:
        """What may be shown: everything but the secrets."""
        return {key: getattr(self, key) for key in KEYS if key not in ("access_token", "app_secret")}


class Numbers:
    """All numbers; the first is the demo number."""

    def __init__(self, demo: Number) -> None:
        self._by_id = {demo.phone_number_id: demo}
        self._by_token = {demo.access_token: [demo]}

    def __iter__(self) -> Iterator[Number]:
        return iter(tuple(self._by_id.values()))

    @property
    def demo(self) -> Number:
        """The number that is meant when none is named."""
        return next(iter(self._by_id.values()))

    def get(self, phone_number_id: str) -> Number | None:
        """Return a number, or None."""
        return self._by_id.get(phone_number_id)

    def named(self, phone_number_id: str | None) -> Number:
        """Return the number a script names, the demo number when it names none."""
        if phone_number_id is None:
            return self.demo
        number = self._by_id.get(phone_number_id)
        if number is None:
            raise BadInput(f"There is no number {phone_number_id!r}.", "phone_number_id", 404)
        return number

    def of_account(self, waba_id: str) -> list[Number]:
        """Return the numbers of a WhatsApp Business Account."""
        return [number for number in self if number.waba_id == waba_id]

    def of_token(self, token: str) -> list[Number]:
        """Return the numbers a bearer token is good for."""
        return self._by_token.get(token, [])

    def put(self, event: Json) -> None:
        """Apply a `number` event: add or replace one.

        What the environment says of the demo number outranks what an older journal remembers of it.
        """
        number = Number(**event["number"])
        known = self._by_id.get(number.phone_number_id)
        if not number.scripted:
            if known is None:
                return
            for key in KEYS:
                setattr(number, key, getattr(known, key))
        self._by_id[number.phone_number_id] = number
        self._by_token = {}
        for each in self._by_id.values():
            self._by_token.setdefault(each.access_token, []).append(each)

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring every number back."""
        return ({"k": "number", "number": asdict(number)} for number in self)


def parse(value: object, demo: Number) -> Number:
    """Read a number a script gives; what it leaves out is as with the demo number."""
    given = fields.known(value, KEYS)
    number = Number(
        phone_number_id=fields.text(given, "phone_number_id"),
        waba_id=fields.text(given, "waba_id", demo.waba_id),
        display_phone_number=fields.text(given, "display_phone_number"),
        verified_name=fields.text(given, "verified_name", demo.verified_name),
        access_token=fields.text(given, "access_token", demo.access_token),
        app_secret=fields.text(given, "app_secret", demo.app_secret),
        webhook_url=fields.text(given, "webhook_url", demo.webhook_url),
        scripted=True,
    )
    if not number.phone_number_id.isdigit():
        raise BadInput("phone_number_id must be digits.", "phone_number_id")
    if not 7 <= len(number.phone) <= 15:
        raise BadInput("display_phone_number must hold 7 to 15 digits.", "display_phone_number")
    if urlsplit(number.webhook_url).scheme not in ("http", "https"):
        raise BadInput("webhook_url must begin with http:// or https://.", "webhook_url")
    return number
