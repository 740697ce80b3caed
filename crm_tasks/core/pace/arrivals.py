"""When starts have arrived, told to Redis a few at a time by a thread of its own: nobody waits for it.

What is not told in time, or never, costs others a quarter of a second and breaks nothing.
"""

import os
import threading
import time

import redis

from crm_tasks.core.log import get_logger
from crm_tasks.core.pace import shared
from crm_tasks.core.pace.buckets import TRAVEL, Entry, Slot

log = get_logger(__name__)

# Seconds that they gather.
_GATHER = 0.03


class _Arrivals:
    """What is not told yet."""

    def __init__(self) -> None:
        # The moments of this process's monotonic clock by which each has surely arrived.
        self._moments: dict[Entry, float] = {}
        self._some = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell(self, slot: Slot, moment: float) -> None:
        """Have it told soon."""
        with self._lock:
            for entry in slot.counted:
                self._moments[entry] = min(moment, self._moments.get(entry, moment))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
                self._thread.start()
        self._some.set()

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
            except redis.RedisError as error:
                log.info("pace.arrivals_not_told", error=type(error).__name__)


_arrivals = _Arrivals()


def _after_fork() -> None:
    global _arrivals
    _arrivals = _Arrivals()


os.register_at_fork(after_in_child=_after_fork)


def left(slot: Slot) -> None:
    """Tell that a request leaves now: in `TRAVEL` it has arrived."""
    if slot.counted:
        _arrivals.tell(slot, time.monotonic() + TRAVEL.total_seconds())


def arrived(slot: Slot) -> None:
    """Tell that a request was answered: it has arrived."""
    if slot.counted:
        _arrivals.tell(slot, time.monotonic())
