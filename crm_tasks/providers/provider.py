"""What every provider of messages is: a few functions and a list of what a channel of its kind needs.

A send has three results: accepted, refused, or nobody knows. `registry.py` names the providers there are.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Sender:
    """A channel as its provider sees it: where it is, who speaks, and what lets it."""

    channel_id: str
    base_url: str
    settings: Mapping[str, Any]
    credentials: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """How a person (or a group) is named: `phone` (E.164), `wa_id`, `bsuid`, `parent_bsuid`, `email` or `group`."""

    kind: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to send. `id` is ours: providers that can, carry it and bring it back with every status."""

    id: str
    to: Address
    type: str
    content: Mapping[str, Any] = field(repr=False)
    context_id: str | None = None
    workspace_id: str = ""
    contact_id: str = ""
    category: str = "service"


class Action(StrEnum):
    """What to do after an error."""

    RETRY = "retry"  # the same again, soon
    PAIR = "pair"  # too many to this one person: wait 4^n seconds, others go on
    LATER = "later"  # once more after a day, then give up
    STOP = "stop"  # the number or account cannot send: hold the channel, tell a person
    MESSAGE = "message"  # this message is wrong: never again
    PERSON = "person"  # this person cannot be reached
    UNKNOWN = "unknown"  # it may have been sent


@dataclass(frozen=True, slots=True)
class Refusal:
    """A clear no, and what to do about it. `code` is the provider's; a negative one is an HTTP status."""

    action: Action
    code: int
    message: str
    retry_after: timedelta | None = None
    # After which a stop of the channel ends by itself; None if a person must end it.
    passes_after: timedelta | None = None
    # What it says about the person, as in `Report`.
    verdict: str | None = None

    def as_error(self, *, times: int = 1) -> dict[str, Any]:
        """Return what a message remembers of it."""
        return {"code": self.code, "title": self.message, "times": times}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the message and will report on it under this id. It is not delivered yet."""

    provider_id: str
    wa_id: str | None = None
    bsuid: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request left and no clear answer came: never to be repeated blindly where there is no idempotency key."""

    reason: str


Result = Accepted | Refusal | Unknown


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider says later of a message that it accepted.

    `status` is one of sent, delivered, read, played, failed (any other is kept and changes nothing); `provider_id` or
    our own `message_id` says of which.
    """

    status: str
    provider_id: str | None
    message_id: str | None = None
    recipient: str = ""
    at: datetime | None = None
    error: Mapping[str, Any] | None = None
    # What it says about the person: `bounced`, `complained` and `unsubscribed` end up in the list of suppressions;
    # after `bounced` and `unreachable` the next channel of the message is tried.
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message from a person, by a provider that has no richer form of its own."""

    provider_id: str
    sender: Address
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """A request that a provider made to us, as it came.

    `url` is the one it was told to call, with its query; the names of `headers` are found in any case.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class BadSignature(Exception):
    """The request is not the provider's: nothing of it is kept."""


class Malformed(Exception):
    """The request is the provider's, but it cannot be understood: kept for a person."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a channel of this kind has to be given. A secret is encrypted and never shown."""

    name: str
    what: str
    secret: bool = False
    required: bool = True
    default: Any = None


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether a provider knows the channel by its credentials, and what it says of it."""

    ok: bool
    said: str


# A person waits for the answer.
CHECK_TIMEOUT = 10.0
MarkRead = Callable[[Sender, str, bool], None]


@dataclass(frozen=True, slots=True)
class Provider:
    """A kind of channel.

    Args:
        send: sends one message, once; with no transaction open.
        send_async: the same on the event loop of `loop`, for broadcasts; without it they use threads.
        verify: says whether a callback is the provider's.
        parse: reads the body of a callback that was verified; may raise `Malformed`.
        check: asks the provider about the channel, and sends nothing to anybody.
        mark_read: tells a person that a message (by its provider id) was read, maybe also that somebody types; raises
            Transient or Permanent.
        measure: how many parts a message has, where that is what is paid for.
        reaches: the identities by which people are reached, the best first.
        types: the types of message that it takes.
        task: the task that sends; its prefix is its queue.
        per_second: what the provider takes in a second, if nobody says otherwise.
        pair: at most one message to the same person every so many seconds, after so many at once.
        too_fast: codes of a refusal that say to slow down.
        window: whether free text needs a customer's message of the last 24 hours.
        medium: what people opt out of: `whatsapp`, `sms` or `email`.
    """

    kind: str
    medium: str
    reaches: Sequence[str]
    types: Sequence[str]
    needs: Sequence[Need]
    send: Callable[[Sender, Outgoing], Result]
    send_async: Callable[[Sender, Outgoing], Awaitable[Result]] | None = None
    verify: Callable[[Sender, Callback], bool] | None = None
    parse: Callable[[bytes], list[Report | Inbound]] | None = None
    check: Callable[[Sender], Checked] | None = None
    mark_read: MarkRead | None = None
    measure: Callable[[Mapping[str, Any]], int] | None = None
    task: str = "messages.send"
    per_second: float | None = None
    pair: tuple[float, int] | None = None
    too_fast: frozenset[int] = frozenset({-429})
    window: bool = False
