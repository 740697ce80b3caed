"""Circuit breakers: what keeps failing is left alone for a while, by all processes, and then tried by exactly one.

    if wait := breaker.before(f"endpoint:{id}"):
        raise Snooze(wait, "the endpoint fails", code="breaker")
    …
    breaker.report(f"endpoint:{id}", ok=answered)

Report what tells whether the other side works: a 4xx of one message is an answer, and a refusal for speed belongs to
`pace.slow_down`. The state is in Redis; while that is away each process has its own.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson
import redis

from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.redis import manager

log = get_logger(__name__)

# All in seconds. It opens when half of at least so many calls failed within the window.
WINDOW, CALLS, SHARE = 30.0, 10, 0.5
FIRST, LONGEST = 15.0, 300.0
# A probe whose worker died is over after this (more than HTTP_TIMEOUT); others ask again more often.
PROBE, ASK_AGAIN = 30.0, 2.0
_FORGET = 3600.0
_RETRY_REDIS = 1.0
_TRIES = 10
# Writes only upon what was read. KEYS: the breaker. ARGV: what was read, what to write, its life in milliseconds.
_SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Position(StrEnum):
    """Where a breaker stands: calls go, none go, or one goes to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class State:
    """A breaker for people: since when it is so, until when it is open, and the last 30 s or what opened it."""

    state: Position
    since: datetime | None
    until: datetime | None
    failures: int
    calls: int


@dataclass(slots=True)
class _Breaker:
    """The rules, on moments in seconds. The window is two halves: what is older than both is forgotten."""

    since: float = 0.0
    until: float = 0.0
    length: float = 0.0
    probe: float = 0.0
    half: int = 0
    calls: int = 0
    failures: int = 0
    old_calls: int = 0
    old_failures: int = 0

    def position(self, now: float) -> Position:
        if not self.length:
            return Position.CLOSED
        return Position.OPEN if now < self.until else Position.HALF_OPEN

    def before(self, now: float) -> float | None:
        """Return how long to stay away; None is go, and in half-open it is the one probe."""
        position = self.position(now)
        if position is Position.OPEN:
            return self.until - now
        if position is Position.HALF_OPEN:
            if now < self.probe:
                return min(self.probe - now, ASK_AGAIN)
            self.probe = now + PROBE
        return None

    def permit(self, now: float, wanted: int) -> tuple[int, float]:
        """Return how many of so many calls may go, and how long the others stay away."""
        wait = self.before(now)
        if wait is not None:
            return 0, wait
        return (1, ASK_AGAIN) if self.length else (wanted, 0.0)

    def report(self, now: float, ok: bool) -> None:
        """Count a call. One that began before the breaker opened, and ends after, says nothing new."""
        position = self.position(now)
        if position is Position.CLOSED:
            self._move(now)
            self.calls += 1
            self.failures += not ok
            calls, failures = self.counts(now)
            if not ok and calls >= CALLS and failures >= SHARE * calls:
                self._open(now)
        elif position is Position.HALF_OPEN and self.probe:
            if ok:
                self.since, self.until, self.length, self.probe = now, 0.0, 0.0, 0.0
                self.calls = self.failures = self.old_calls = self.old_failures = 0
            else:
                self._open(now)

    def counts(self, now: float) -> tuple[int, int]:
        """Return calls and failures within the window; of one that is not closed, what opened it."""
        passed = 0 if self.length else math.floor(now / (WINDOW / 2)) - self.half
        if passed == 0:
            return self.calls + self.old_calls, self.failures + self.old_failures
        return (self.calls, self.failures) if passed == 1 else (0, 0)

    def _move(self, now: float) -> None:
        half = math.floor(now / (WINDOW / 2))
        if half != self.half:
            adjacent = half == self.half + 1
            self.old_calls, self.old_failures = (self.calls, self.failures) if adjacent else (0, 0)
            self.half, self.calls, self.failures = half, 0, 0

    def _open(self, now: float) -> None:
        self.length = min(self.length * 2 or FIRST, LONGEST)
        self.since, self.until, self.probe = now, now + self.length, 0.0


_local: dict[str, _Breaker] = {}
_lock = threading.Lock()
_away_until = 0.0


def before(key: str) -> timedelta | None:
    """Ask whether to call: None is go; else how long to stay away. Every go wants a `report`."""
    wait = _change(key, lambda breaker, now: breaker.before(now))
    return None if wait is None else timedelta(seconds=wait)


def permit(key: str, wanted: int) -> tuple[int, timedelta]:
    """Ask for many calls at once: how many may go, and how long the others stay away. Every go wants a `report`."""
    allowed, wait = _change(key, lambda breaker, now: breaker.permit(now, wanted))
    return allowed, timedelta(seconds=wait)


def report(key: str, *ends: bool) -> None:
    """Tell how calls ended, in order: whether they were answered."""

    def tell(breaker: _Breaker, now: float) -> None:
        for ok in ends:
            breaker.report(now, ok)

    _change(key, tell)


def state(key: str) -> State:
    """Return how a breaker stands; one that nobody has used is closed."""
    return _change(key, _shown)


def _shown(breaker: _Breaker, now: float) -> State:
    calls, failures = breaker.counts(now)
    return State(breaker.position(now), _moment(breaker.since), _moment(breaker.until), failures, calls)


def _change(key: str, act: Callable[[_Breaker, float], Any]) -> Any:
    global _away_until
    if time.monotonic() >= _away_until:
        try:
            return _shared(key, act)
        except redis.RedisError as error:
            _away_until = time.monotonic() + _RETRY_REDIS
            if rarely("breaker.away"):
                log.warning("breaker.away", error=type(error).__name__)
    with _lock:
        breaker = _local.setdefault(key, _Breaker())
        until = breaker.until
        answer = act(breaker, time.time())
        _say(key, until, breaker.until)
        return answer


def _shared(key: str, act: Callable[[_Breaker, float], Any]) -> Any:
    client, name = manager().client(), f"{settings().key_prefix}breaker:{key}"
    for _ in range(_TRIES):
        with client.pipeline(transaction=False) as pipe:
            pipe.get(name)
            pipe.time()
            read, (seconds, micros) = pipe.execute()
        breaker = _Breaker(**orjson.loads(read)) if read else _Breaker()
        was = asdict(breaker)
        answer = act(breaker, seconds + micros / 1_000_000)
        if asdict(breaker) == was:
            return answer
        life = round((max(breaker.until - seconds, 0.0) + _FORGET) * 1000)
        if client.eval(_SWAP, 1, name, read or b"", orjson.dumps(asdict(breaker)), life):
            _say(key, was["until"], breaker.until)
            return answer
    # Others were quicker so often: a window may lack one call, but nobody probes on that.
    return answer if breaker.probe == was["probe"] else ASK_AGAIN


def _say(key: str, was: float, until: float) -> None:
    if until > was:
        metrics.count("breaker_opened")
        log.warning("breaker.opened", key=key, until=datetime.fromtimestamp(until, UTC).isoformat())
    elif until < was:
        log.info("breaker.closed", key=key)


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
