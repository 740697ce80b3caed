"""What can be limited: a rate, or how many different members there may be within a moving window.

    Bucket(f"channel:{id}", rate=80, burst=8)                      80/s, of which 8/s are kept for priorities 1 to 3
    Bucket(f"pair:{channel}:{contact}", 1 / 6, burst=45, share=0)  one per 6 s, up to 45 at once after a long silence
    Bucket("task:messages.send", 20 / 60)                          20 a minute, evenly spaced
    Members(f"portfolio:{id}", 250, rebuild)                       250 different recipients within 24 hours

The promise: the starts within any length of time are at most `burst` + `rate` × that time. Names and the ids in them
are seen in Redis and in explanations: no phone numbers. Members are stored as keyed hashes.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

AHEAD = timedelta(seconds=1)
# Priorities from 1 to this are the class that a broadcast never delays.
HIGH = 3
DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Bucket:
    """So many starts per second, and how many may come at once after a silence.

    `share` is the part of rate and burst that only priorities 1 to 3 may use; they use the rest as well. It takes
    effect with a burst of 2 or more: evenly spaced starts (burst 1) have no room for a second lane.
    """

    name: str
    rate: float
    burst: int = 1
    share: float = 0.1

    def __post_init__(self) -> None:
        if not self.rate > 0 or self.burst < 1 or not 0 <= self.share < 1:
            raise ValueError(f"Bucket {self.name}: rate above 0, burst from 1, share from 0 to below 1.")

    @property
    def lanes(self) -> tuple["Lane", "Lane | None"]:
        """Return the lane open to all, and the one kept for high priorities, if there is one."""
        if self.burst < 2 or not self.share:
            return Lane(_step(self.rate), self.burst), None
        kept = min(max(1, round(self.burst * self.share)), self.burst - 1)
        return Lane(_step(self.rate * (1 - self.share)), self.burst - kept), Lane(_step(self.rate * self.share), kept)


@dataclass(frozen=True, slots=True)
class Lane:
    """Microseconds from one start to the next, and how many may come at once."""

    step: int
    burst: int


@dataclass(frozen=True, slots=True)
class Members:
    """At most so many different members within a moving window; who is in it already costs nothing.

    `rebuild` reads from Postgres who is in it, and when they were last: Redis may be emptied at any time.
    """

    name: str
    limit: int
    rebuild: Callable[[], Iterable[tuple[str, datetime]]] = field(compare=False, repr=False)
    window: timedelta = DAY

    def __post_init__(self) -> None:
        if self.limit < 1 or self.window <= timedelta(0):
            raise ValueError(f"Members {self.name}: limit from 1, window above 0.")


Limit = Bucket | Members


@dataclass(frozen=True, slots=True)
class Wish:
    """One start that somebody wants: in which limits, with which priority, for whom."""

    limits: Sequence[Limit]
    priority: int = 5
    member: str | None = None

    @property
    def high(self) -> bool:
        """Whether it is of the class that a broadcast never delays."""
        return self.priority <= HIGH


@dataclass(frozen=True, slots=True)
class Slot:
    """A start that was reserved and how long to wait for it, or how long to stay away.

    `gate` names the bucket that decides, None if nothing makes it wait; `at` is the start in seconds of Redis's clock.
    """

    reserved: bool
    wait: timedelta
    gate: str | None = None
    at: float | None = None
    undo: Callable[[], None] | None = field(default=None, compare=False, repr=False)


def _step(rate: float) -> int:
    """Return whole microseconds, rounded up, but not by what floating point makes of 1/3."""
    return math.ceil(round(1_000_000 / rate, 3))
