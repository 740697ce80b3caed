"""What the gateways know of their one customer: credentials, and where callbacks go. `/_sandbox/gateways` sets it."""

from dataclasses import asdict, dataclass, field, replace
from urllib.parse import urlsplit

from sandbox import fields
from sandbox.fields import BadInput, Json
from sandbox.numbers import Number

NAMES = ("sms", "twilio", "email")
TWILIO_ACCOUNT = "AC" + "5a" * 16
PHONE = "+15550783882"
SENDER = "Sandbox Shop <shop@sandbox.example>"
STARTTLS = ("off", "offered", "required")
MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Account:
    """The customer of one gateway. `address` is what messages come from, and what inbound ones go to."""

    token: str = field(repr=False)
    secret: str = field(repr=False)
    address: str
    account: str = ""
    callback_url: str | None = None

    def public(self) -> Json:
        """What may be shown: everything but the secrets."""
        return {"account": self.account, "address": self.address, "callback_url": self.callback_url}


@dataclass(frozen=True, slots=True)
class Smtp:
    """What the SMTP server asks for. Without a user anybody may send, with any password or none."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    starttls: str = "offered"
    largest: int = 30 * MB


@dataclass(frozen=True, slots=True)
class Accounts:
    """All of them."""

    sms: Account
    twilio: Account
    email: Account
    smtp: Smtp

    def named(self, kind: str) -> Account:
        """Return the account of a gateway."""
        account: Account = getattr(self, kind)
        return account

    def public(self) -> Json:
        """Return what scripts may read."""
        smtp = {"user": self.smtp.user, "starttls": self.smtp.starttls, "largest": self.smtp.largest}
        return {name: self.named(name).public() for name in NAMES} | {"smtp": smtp}

    def changes(self, base: "Accounts") -> Json:
        """Return what differs from others, as a `gateways` event holds it: what is in the environment stays there."""
        return {
            name: {key: value for key, value in asdict(mine).items() if value != getattr(theirs, key)}
            for name, mine, theirs in ((name, getattr(self, name), getattr(base, name)) for name in (*NAMES, "smtp"))
            if mine != theirs
        }


def default(number: Number) -> Accounts:
    """Return what holds until a script says otherwise: the token and the secret of the demo number, everywhere."""
    token, secret = number.access_token, number.app_secret
    return Accounts(
        sms=Account(token, secret, PHONE),
        twilio=Account(token, token, PHONE, TWILIO_ACCOUNT),
        email=Account(token, secret, SENDER),
        smtp=Smtp(),
    )


def restore(event: Json, base: Accounts) -> Accounts:
    """Read a `gateways` event."""
    return replace(base, **{name: replace(getattr(base, name), **found) for name, found in event["gateways"].items()})


def parse(value: object, base: Accounts) -> Accounts:
    """Read what a script sets; what it leaves out stays as it is, null takes a value away."""
    given = fields.known(value, (*NAMES, "smtp"))
    changes: Json = {name: _account(given[name], name, base.named(name)) for name in NAMES if name in given}
    if "smtp" in given:
        changes["smtp"] = _smtp(given["smtp"], base.smtp)
    return replace(base, **changes)


def _account(value: object, name: str, old: Account) -> Account:
    given = fields.known(value, ("token", "secret", "address", "account", "callback_url"), name)
    changes: Json = {key: fields.text(given, key) for key in ("token", "address", "account") if key in given}
    if "secret" in given:
        if name == "twilio":
            raise BadInput("Twilio signs with the auth token: set token.", "secret")
        changes["secret"] = fields.text(given, "secret")
    if name == "twilio" and "token" in changes:
        changes["secret"] = changes["token"]
    if "callback_url" in given:
        changes["callback_url"] = url(given, "callback_url") if given["callback_url"] else None
    return replace(old, **changes)


def _smtp(value: object, old: Smtp) -> Smtp:
    given = fields.known(value, tuple(Smtp.__slots__), "smtp")
    starttls = fields.text(given, "starttls", old.starttls)
    if starttls not in STARTTLS:
        raise BadInput(f"starttls must be one of {', '.join(STARTTLS)}.", "starttls")
    changes: Json = {key: fields.optional(given, key) for key in ("user", "password") if key in given}
    new = replace(old, starttls=starttls, **changes)
    if (new.user is None) != (new.password is None):
        raise BadInput("user and password belong together.", "user")
    return replace(new, largest=fields.whole(given, "largest", old.largest, least=1024, most=100 * MB))


def url(given: Json, key: str) -> str:
    """Return an http or https address that a script or a request names."""
    found = fields.text(given, key)
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadInput(f"{key} must begin with http:// or https://.", key)
    return found
