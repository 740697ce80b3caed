"""The limits and the manners of the stand-in: rates it refuses at, and when and how its webhooks come."""

from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, field, replace

from sandbox import fields
from sandbox.fields import BadInput, Json

RETRY_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_PAIRS_KEPT = 200_000
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Pair:
    """At most one message to the same customer per `per_seconds`, after a burst."""

    per_seconds: float
    burst: int


@dataclass(frozen=True, slots=True)
class Statuses:
    """When a message's statuses come, in milliseconds after it was accepted."""

    sent_ms: float = 20
    delivered_ms: float = 100
    read_ms: float = 400
    auto_read: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What `PUT /_sandbox/limits` sets. None means no limit.

    What breaks one is refused and counted; without `enforce` it is only counted. `unique_per_day` is about the
    customers whom the numbers of one business account reach within 24 hours outside the customer service window.
    """

    messages_per_second: int | None = None
    per_minute: int | None = None
    pair: Pair | None = None
    unique_per_day: int | None = None
    enforce: bool = True
    batch: int = 1
    batch_wait_ms: float = 0
    statuses: Statuses = field(default_factory=Statuses)
    enforce_window: bool = False
    template_review_ms: float | None = 1500
    retry_delays: tuple[float, ...] = RETRY_DELAYS
    webhook_timeout: float = 10

    def public(self) -> Json:
        """Return the settings as scripts read and write them."""
        return asdict(self) | {"retry_delays": list(self.retry_delays)}


def parse(value: object, base: Limits | None = None) -> Limits:
    """Read limits; what is missing is as in `base`, else as by default, and null means the default."""
    start = base or Limits()
    given = fields.known(value, tuple(Limits.__slots__))
    changes: Json = {}
    for key in given:
        changes[key] = getattr(Limits(), key) if given[key] is None else _READERS[key](given, start)
    return replace(start, **changes)


def _pair(given: Json, _: Limits) -> Pair:
    pair = fields.known(given["pair"], tuple(Pair.__slots__), "pair")
    return Pair(
        per_seconds=fields.number(pair, "per_seconds", 6, least=0.001, most=86400),
        burst=fields.whole(pair, "burst", 45, least=1, most=100_000),
    )


def _statuses(given: Json, start: Limits) -> Statuses:
    found = fields.known(given["statuses"], tuple(Statuses.__slots__), "statuses")
    day = 86_400_000
    old = start.statuses
    return Statuses(
        sent_ms=fields.number(found, "sent_ms", old.sent_ms, most=day),
        delivered_ms=fields.number(found, "delivered_ms", old.delivered_ms, most=day),
        read_ms=fields.number(found, "read_ms", old.read_ms, most=day),
        auto_read=fields.flag(found, "auto_read", old.auto_read),
    )


def _delays(given: Json, _: Limits) -> tuple[float, ...]:
    found = given["retry_delays"]
    if not isinstance(found, list) or not 1 <= len(found) <= 50 or None in found:
        raise BadInput("retry_delays must be a list of 1 to 50 numbers of seconds.", "retry_delays")
    return tuple(fields.number({"retry_delays": item}, "retry_delays", least=0.01, most=86400) for item in found)


_READERS = {
    "messages_per_second": lambda given, _: fields.whole(given, "messages_per_second", least=1),
    "per_minute": lambda given, _: fields.whole(given, "per_minute", least=1),
    "pair": _pair,
    "unique_per_day": lambda given, _: fields.whole(given, "unique_per_day", least=1),
    "enforce": lambda given, _: fields.flag(given, "enforce", True),
    "batch": lambda given, _: fields.whole(given, "batch", least=1, most=1000),
    "batch_wait_ms": lambda given, _: fields.number(given, "batch_wait_ms", most=60_000),
    "statuses": _statuses,
    "enforce_window": lambda given, _: fields.flag(given, "enforce_window", False),
    "template_review_ms": lambda given, _: fields.number(given, "template_review_ms", most=86_400_000),
    "retry_delays": _delays,
    "webhook_timeout": lambda given, _: fields.number(given, "webhook_timeout", least=0.05, most=120),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A message on its way in: who sends it to whom, when, and whether that is outside the service window."""

    number_id: str
    waba_id: str
    customer: str
    now: float
    outside: bool


class Gate:
    """Lets a message pass or names the limit it breaks. Only what passes uses a limit up."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self._minutes: dict[str, deque[float]] = {}
        self._pairs: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._reached: dict[str, OrderedDict[str, float]] = {}

    def broken(self, limits: Limits, attempt: Attempt) -> str | None:
        """Return the limit this message would break; None lets it pass and counts it."""
        number_id, now = attempt.number_id, attempt.now
        second = self._seconds.setdefault(number_id, deque()) if limits.messages_per_second else None
        if second is not None and limits.messages_per_second and _full(second, limits.messages_per_second, now - 1):
            return "messages_per_second"
        minute = self._minutes.setdefault(number_id, deque()) if limits.per_minute else None
        if minute is not None and limits.per_minute and _full(minute, limits.per_minute, now - 60):
            return "per_minute"
        if attempt.outside and limits.unique_per_day is not None and self._is_one_more(limits.unique_per_day, attempt):
            return "unique_per_day"
        if limits.pair is not None and not self._take(limits.pair, (number_id, attempt.customer), now):
            return "pair"
        for times in (second, minute):
            if times is not None:
                times.append(now)
        if attempt.outside:
            reached = self._reached.setdefault(attempt.waba_id, OrderedDict())
            reached[attempt.customer] = now
            reached.move_to_end(attempt.customer)
        return None

    def reached(self, now: float) -> dict[str, int]:
        """Return how many customers each business account reached outside the window in the last 24 hours."""
        for reached in self._reached.values():
            _forget(reached, now)
        return {waba_id: len(reached) for waba_id, reached in self._reached.items()}

    def _is_one_more(self, most: int, attempt: Attempt) -> bool:
        reached = self._reached.get(attempt.waba_id)
        if reached is None:
            return False
        _forget(reached, attempt.now)
        return len(reached) >= most and attempt.customer not in reached

    def _take(self, pair: Pair, key: tuple[str, str], now: float) -> bool:
        """Take one token from the bucket of a pair, if there is one."""
        tokens, since = self._pairs.get(key, (float(pair.burst), now))
        tokens = min(float(pair.burst), tokens + (now - since) / pair.per_seconds)
        passes = tokens >= 1
        self._pairs[key] = (tokens - 1 if passes else tokens, now)
        self._pairs.move_to_end(key)
        if len(self._pairs) > _PAIRS_KEPT:
            self._pairs.popitem(last=False)
        return passes


def _full(times: deque[float], most: int, since: float) -> bool:
    """Say whether as many passed already since a moment as may."""
    while times and times[0] <= since:
        times.popleft()
    return len(times) >= most


def _forget(reached: OrderedDict[str, float], now: float) -> None:
    while reached and next(iter(reached.values())) <= now - _DAY:
        reached.popitem(last=False)
