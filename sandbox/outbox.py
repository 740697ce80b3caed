"""Webhooks waiting to go out, per number and by due time. What is taken comes back as delivered or failed: never lost.

A number whose address does not answer is left alone for a while, so that one dead web app neither delays the others nor
costs anything; a payload that is refused comes again after a growing delay of its own.
"""

import heapq
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.callbacks import Callback
from sandbox.fields import Json
from sandbox.limits import Limits
from sandbox.updates import Update

AT_ONCE = 6
PENDING = 1_000_000
_TICK = 0.002
_LOOKS = 8
_LONGEST_PAUSE = 5.0
_IDLE = 3600.0
Waiting = Update | Callback


@dataclass(slots=True)
class Lane:
    """The queue of one number; `blocked` when only the return of what is under way lets it go on.

    Callbacks travel `alone`; updates of a number travel in batches.
    """

    alone: bool = False
    future: list[tuple[float, int, Waiting]] = field(default_factory=list)
    ready: deque[Waiting] = field(default_factory=deque)
    retries: list[tuple[float, int, "Batch"]] = field(default_factory=list)
    flying: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    blocked: bool = False
    failures: int = 0
    closed_until: float = 0.0
    error: str | None = None

    def take_off(self, batch: "Batch") -> "Batch":
        """Note a batch as under way."""
        self.busy += 1
        self.flying.update(update.key for update in batch.updates)
        return batch

    def land(self, batch: "Batch") -> None:
        """Note a batch as back."""
        self.busy -= 1
        for update in batch.updates:
            self.flying[update.key] -= 1
            if not self.flying[update.key]:
                del self.flying[update.key]


@dataclass(slots=True)
class Batch:
    """Updates of one number that travel in one request."""

    num: str
    lane: Lane
    updates: list[Waiting]
    attempts: int = 0


class Outbox:
    """Every update that no web app has acknowledged yet."""

    def __init__(self) -> None:
        self.limits = Limits()
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._idle = threading.Condition(lock)
        self._under_way = 0
        self._lanes: dict[str, Lane] = {}
        self._pending: dict[int, Waiting] = {}
        self._waiting: dict[int, threading.Event] = {}
        self._next = 1
        self._serial = itertools.count()
        self._wake_at = 0.0
        self._started = False
        self.refused = 0

    def uid(self) -> int:
        """Return the number of a new update; the caller holds the world's lock."""
        self._next += 1
        return self._next

    def put(self, update: Waiting) -> None:
        """Queue an update; while a journal is replayed it only waits to be started."""
        self._next = max(self._next, update.uid)
        with self._changed:
            if len(self._pending) >= PENDING:
                self.refused += 1
                return
            self._pending[update.uid] = update
            if self._started:
                self._queue(update)

    def start(self) -> None:
        """Queue what a replay left undelivered, and from now on everything at once."""
        with self._changed:
            self._started = True
            for update in self._pending.values():
                self._queue(update)

    def take(self) -> list[Batch]:
        """Wait until something may be sent, and return it."""
        with self._changed:
            while True:
                now = time.time()
                found: list[Batch] = []
                wake = now + _IDLE
                for num, lane in self._lanes.items():
                    wake = min(wake, self._collect(num, lane, now, found))
                if found:
                    self._under_way += len(found)
                    return found
                self._wake_at = max(wake, now + _TICK)
                self._changed.wait(self._wake_at - now)

    def owns(self, batch: Batch) -> bool:
        """Say whether a batch still counts: clearing the state disowns what is under way."""
        with self._changed:
            return self._lanes.get(batch.num) is batch.lane

    def delivered(self, uids: list[int]) -> list[Waiting]:
        """Forget updates that were acknowledged, and return those that were still pending."""
        with self._changed:
            known = [update for uid in uids if (update := self._pending.pop(uid, None)) is not None]
            for uid in uids:
                waiter = self._waiting.pop(uid, None)
                if waiter is not None:
                    waiter.set()
        return known

    def finished(self, batch: Batch, error: str | None, *, answered: bool) -> None:
        """Take a batch back: done, or to be tried again; `answered` tells a refusal from silence."""
        with self._changed:
            self._under_way -= 1
            if not self._under_way:
                self._idle.notify_all()
            lane = batch.lane
            if self._lanes.get(batch.num) is not lane:
                return
            lane.land(batch)
            lane.error = error
            if error is None:
                lane.failures = 0
                lane.closed_until = 0.0
            else:
                now = time.time()
                self._again(lane, batch, now)
                if not answered and now >= lane.closed_until:
                    lane.failures += 1
                    lane.closed_until = now + min(self._delay(lane.failures), _LONGEST_PAUSE)
            if error is not None or lane.blocked:
                self._changed.notify()

    def hurry(self) -> int:
        """Make every retry due now, and return how many there were."""
        with self._changed:
            count = 0
            for lane in self._lanes.values():
                lane.closed_until = 0.0
                lane.retries = [(0.0, serial, batch) for _, serial, batch in lane.retries]
                heapq.heapify(lane.retries)
                count += len(lane.retries)
            self._changed.notify()
        return count

    def waiter(self, uid: int) -> threading.Event:
        """Return what is set once this update has been acknowledged; ask before it is queued."""
        with self._changed:
            return self._waiting.setdefault(uid, threading.Event())

    def clear(self) -> None:
        """Drop everything."""
        with self._changed:
            self._pending.clear()
            self._lanes.clear()
            self.refused = 0

    def settle(self, seconds: float) -> bool:
        """Wait until nothing is under way any more."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._under_way, seconds)

    def health(self) -> Json:
        """Return how delivery is doing."""
        with self._changed:
            lanes = self._lanes
            errors = {num: lane.error for num, lane in lanes.items() if lane.error}
            return {
                "pending": len(self._pending),
                "retrying": sum(len(batch.updates) for lane in lanes.values() for _, _, batch in lane.retries),
                "abandoned": self.refused,
                "last_error": next(iter(errors.values()), None),
                "errors_by_number": errors,
            }

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring every pending update back."""
        with self._changed:
            pending = tuple(self._pending.values())
        return (update.event() for update in pending)

    def _queue(self, update: Waiting) -> None:
        lane = self._lanes.get(update.num)
        if lane is None:
            lane = self._lanes[update.num] = Lane(alone=isinstance(update, Callback))
        heapq.heappush(lane.future, (update.due, update.uid, update))
        if update.due < self._wake_at and not lane.ready:  # what is ready already will be looked at
            self._wake_at = 0.0
            self._changed.notify()

    def _collect(self, num: str, lane: Lane, now: float, found: list[Batch]) -> float:
        """Move what may go from a lane to `found`; return when to look again."""
        future, ready = lane.future, lane.ready
        while future and future[0][0] <= now:
            ready.append(heapq.heappop(future)[2])
        lane.blocked = False
        size, wait = (1, 0.0) if lane.alone else (self.limits.batch, self.limits.batch_wait_ms / 1000)
        if now < lane.closed_until and (ready or lane.retries):
            return lane.closed_until
        while lane.busy < AT_ONCE and lane.retries and lane.retries[0][0] <= now:
            found.append(lane.take_off(heapq.heappop(lane.retries)[2]))
        while lane.busy < AT_ONCE and ready and (len(ready) >= size or now >= ready[0].due + wait):
            if ready[0].key in lane.flying:  # its forerunner is under way
                lane.blocked = True
                return now + _IDLE
            updates = [ready.popleft()]
            while ready and len(updates) < size and ready[0].key not in lane.flying:
                updates.append(ready.popleft())
            found.append(lane.take_off(Batch(num, lane, updates)))
        if lane.busy >= AT_ONCE:
            lane.blocked = True
            return now + _IDLE
        # Who gathers a batch need not wake for each that joins it: it looks now and then whether it is full.
        moments = [max(future[0][0], now + wait / _LOOKS if ready else 0.0)] if future else []
        if ready:
            moments.append(ready[0].due + wait)
        if lane.retries:
            moments.append(lane.retries[0][0])
        return min(moments, default=now + _IDLE)

    def _again(self, lane: Lane, batch: Batch, now: float) -> None:
        batch.attempts += 1
        heapq.heappush(lane.retries, (now + self._delay(batch.attempts), next(self._serial), batch))

    def _delay(self, failures: int) -> float:
        delays = self.limits.retry_delays
        return delays[min(failures, len(delays)) - 1]
