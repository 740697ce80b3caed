"""When starts have arrived, told to Redis a few at a time by a thread of its own: nobody waits for it.

What is not told in time, or never, costs others a quarter of a second and breaks nothing. A provider that is near says
itself by when a request had arrived: it answers at once, or something stood still. One that is far away answers late:
there a request counts from a little after it left.
"""

import os
import threading
import time
from collections import Counter
from contextlib import suppress

from crm_tasks.core.log import get_logger
from crm_tasks.core.pace import shared
from crm_tasks.core.pace.buckets import TRAVEL, Entry, Slot

log = get_logger(__name__)

# Seconds that they gather.
_GATHER = 0.03
# A provider is far away if for so many seconds and so many answers none came within `TRAVEL`: a moment in which
# something stood still makes none far.
_FAR_FOR, _SLOW = 5.0, 16
_TRAVEL = TRAVEL.total_seconds()


class _Arrivals:
    """What is not told yet."""

    def __init__(self) -> None:
        # The moments of this process's monotonic clock by which each has surely arrived.
        self._moments: dict[Entry, float] = {}
        self._left: dict[Entry, float] = {}
        # By window, when the last answer came within `TRAVEL`, and how many have not since.
        self._quick: dict[str, float] = {}
        self._slow: Counter[str] = Counter()
        self._some = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def left(self, slot: Slot) -> None:
        """Have told by when a request that leaves now has arrived, if its answer will not tell."""
        now = time.monotonic()
        with self._lock:
            for entry in slot.counted:
                self._left[entry] = now
                if self._is_far(entry.window, now):
                    self._tell(entry, now + _TRAVEL)

    def arrived(self, slot: Slot) -> None:
        """Have told that a request has arrived by now."""
        now = time.monotonic()
        with self._lock:
            for entry in slot.counted:
                if (left := self._left.pop(entry, None)) is not None:
                    self._answered(entry.window, now, now - left)
                self._tell(entry, now)

    def _answered(self, window: str, now: float, took: float) -> None:
        if took <= _TRAVEL or window not in self._quick:
            self._quick[window], self._slow[window] = now, 0
        else:
            self._slow[window] += 1

    def _is_far(self, window: str, now: float) -> bool:
        return self._slow[window] >= _SLOW and now - self._quick[window] >= _FAR_FOR

    def _tell(self, entry: Entry, moment: float) -> None:
        self._moments[entry] = min(moment, self._moments.get(entry, moment))
        self._some.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
            # What was answered is worth more than when.
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_GATHER)
            self._some.clear()
            with self._lock:
                moments, self._moments = self._moments, {}
            now = time.monotonic()
            try:
                shared.arrived({entry: now - moment for entry, moment in moments.items()})
            except Exception as error:  # noqa: BLE001  whatever it is, those after it are to be told
                log.info("pace.arrivals_not_told", error=type(error).__name__)


_arrivals = _Arrivals()


def _after_fork() -> None:
    global _arrivals
    _arrivals = _Arrivals()


os.register_at_fork(after_in_child=_after_fork)


def left(slot: Slot) -> None:
    """Note that a request leaves now: if its provider is far away, it has arrived in `TRAVEL`."""
    if slot.counted:
        _arrivals.left(slot)


def arrived(slot: Slot) -> None:
    """Note that a request was answered: it has arrived."""
    if slot.counted:
        _arrivals.arrived(slot)
