"""What can be limited: a rate, a count within a moving window, or different members within one.

    Window(f"channel:{id}", 80)                                    80/s, of which 8/s are kept for priorities 1 to 3
    Bucket(f"pair:{channel}:{contact}", 1 / 6, burst=45, share=0)  one per 6 s, up to 45 at once after a long silence
    Bucket("task:messages.send", 20 / 60)                          20 a minute, evenly spaced
    Members(f"portfolio:{id}", 250, rebuild)                       250 different recipients within 24 hours

The promise of a bucket: the starts within any length of time are at most `burst` + `rate` × that time. That of a
window: no more arrivals in any of its length than its count. Names and the ids in them are seen in Redis and in
explanations: no phone numbers. Members are stored as keyed hashes.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

AHEAD = timedelta(seconds=1)
# Priorities from 1 to this are the class that a broadcast never delays.
HIGH = 3
DAY = timedelta(hours=24)
# How late a start in a window may be used, and how much longer one request may travel than another.
LATE, TRAVEL = timedelta(milliseconds=200), timedelta(milliseconds=50)
# The longest window, in seconds: who knows nothing of what was before waits for so long.
LONGEST = 1.0
# What a process that goes on alone uses of a window, as nobody keeps account of when its starts arrive.
_ALONE = 0.95


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
    def reserved(self) -> float:
        """The part of the rate that is for high priorities alone."""
        return self.share if self.burst > 1 else 0.0

    @property
    def lanes(self) -> tuple["Lane", "Lane | None"]:
        """Return the lane open to all, and the one kept for high priorities, if there is one."""
        return _lanes(self.rate, self.burst, self.reserved)


@dataclass(frozen=True, slots=True)
class Lane:
    """Microseconds from one start to the next, how many may come at once, and how many in a window (0: no window)."""

    step: int
    burst: int
    count: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many arrivals within any stretch of so many seconds, as a provider counts them.

    A start counts from when it has surely arrived: at its answer, or `TRAVEL` after it left where answers take longer
    (see `arrivals`); as long as nothing is told, `LATE` and `TRAVEL` after its moment. So one that is late by `LATE` at
    most breaks nothing, and costs no more than it is late. `share` is for priorities 1 to 3, in whole starts.
    """

    name: str
    count: int
    seconds: float = 1.0
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.seconds <= LONGEST or not 0 <= self.share < 1:
            raise ValueError(f"Window {self.name}: count from 1, seconds above 0 to 1, share from 0 to below 1.")

    @property
    def rate(self) -> float:
        """Starts per second."""
        return self.count / self.seconds

    @property
    def kept(self) -> int:
        """How many of its starts are for high priorities alone."""
        return int(self.count * self.share)

    @property
    def reserved(self) -> float:
        """The part of the rate that is for high priorities alone."""
        return self.kept / self.count

    @property
    def lanes(self) -> tuple[Lane, Lane | None]:
        """Return the lane open to all, and the one kept for high priorities, if there is one."""
        return _counted_lanes(self.count, self.kept, self.seconds)

    @property
    def evenly(self) -> Bucket:
        """Return the bucket that keeps this limit without knowing when its starts arrive."""
        return Bucket(self.name, self.rate * _ALONE, burst=2 if self.kept else 1, share=self.reserved)


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


Limit = Bucket | Window | Members


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
class Entry:
    """One start in the account of a window."""

    window: str
    lane: str
    number: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A start that was reserved and how long to wait for it, or how long to stay away.

    `gate` names the bucket that decides, None if nothing makes it wait; `at` is the start in seconds of Redis's clock;
    `counted` is where its arrival is kept account of.
    """

    reserved: bool
    wait: timedelta
    gate: str | None = None
    at: float | None = None
    undo: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    counted: tuple[Entry, ...] = ()


def _step(rate: float) -> int:
    """Return whole microseconds, rounded up, but not by what floating point makes of 1/3."""
    return math.ceil(round(1_000_000 / rate, 3))


# A broadcast asks for each of its people, whose pairs are all alike.
@lru_cache
def _lanes(rate: float, burst: int, share: float) -> tuple[Lane, Lane | None]:
    if not share:
        return Lane(_step(rate), burst), None
    kept = min(max(1, round(burst * share)), burst - 1)
    return Lane(_step(rate * (1 - share)), burst - kept), Lane(_step(rate * share), kept)


@lru_cache
def _counted_lanes(count: int, kept: int, seconds: float) -> tuple[Lane, Lane | None]:
    return _counted(count - kept, seconds), _counted(kept, seconds) if kept else None


def _counted(count: int, seconds: float) -> Lane:
    # A few at once make up for a moment in which nobody was ready; many would be more than some providers can do.
    return Lane(_step(count / seconds), max(2, count // 20), count)
