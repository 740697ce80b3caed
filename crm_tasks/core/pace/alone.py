"""While Redis is away each process takes its part of every rate: one over the number of live worker processes.

It starts empty, after all that was reserved with Redis is over and no window counts it any more, and knows no set: who
is surely in one passes, nobody new does. The reckoning is that of reserve.lua, in seconds of this process's monotonic
clock.
"""

import math
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from crm_tasks.config import settings
from crm_tasks.core import db, metrics, pulse
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.pace import learned
from crm_tasks.core.pace.buckets import AHEAD, LONGEST, Bucket, Lane, Limit, Members, Slot, Window

log = get_logger(__name__)

# How old this process's idea of the others, and of a set's members, may be.
NODES_AGE, MEMBERS_AGE = 2.0, 30.0
# Refused members come back spread over time, not at once.
MEMBERS_WAIT, MEMBERS_STEP = 5.0, 0.05
_AHEAD = AHEAD.total_seconds()
_BORN = time.monotonic()
_OTHERS = """
    SELECT count(*) FROM processes
    WHERE stopped_at IS NULL AND seen_at > now() - %s AND (kind = 'child' OR pool = 'threads')
      AND id IS DISTINCT FROM %s
"""


class Nodes:
    """How many processes share the rates, and which of these are slowed, as last read from Postgres."""

    def __init__(self) -> None:
        self.count: int | None = None
        self.slowed: dict[str, float] = {}
        self._read = -NODES_AGE
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read again what is old; with Postgres away too, the last that was known stays."""
        if time.monotonic() - self._read < NODES_AGE or not self._lock.acquire(blocking=self.count is None):
            return
        try:
            if time.monotonic() - self._read >= NODES_AGE:
                self._load()
        except (psycopg.Error, SQLAlchemyError) as error:
            if rarely("pace.nodes"):
                log.warning("pace.nodes_unknown", error=type(error).__name__)
        finally:
            self._read = time.monotonic()
            self._lock.release()

    def _load(self) -> None:
        me = pulse.current()
        with db.dedicated() as connection:  # the caller may hold one of the pool
            row = connection.execute(_OTHERS, (settings().lease, me.id if me else None)).fetchone()
            slowed = learned.slowed(connection)
        assert row is not None
        self.count, self.slowed = row[0] + 1, slowed


class Alone:
    """The account of one process for one absence of Redis."""

    def __init__(self, nodes: Nodes) -> None:
        # A process that has just begun is not counted by all others yet.
        self._floor = max(time.monotonic() + _AHEAD + LONGEST, _BORN + 2 * NODES_AGE)
        self._nodes = nodes
        self._open: dict[tuple[str, str], float] = {}
        self._tails: dict[tuple[str, bool], float] = {}
        self._members: dict[str, tuple[float, dict[str, float]]] = {}
        self._lock = threading.Lock()

    def reserve(self, limits: Sequence[Limit], *, high: bool, member: str | None, deadline: float) -> Slot:
        """Reserve one start in all of these or none; nothing is granted once the monotonic clock is past `deadline`."""
        self._nodes.refresh()
        for limit in limits:
            if isinstance(limit, Members) and not self._is_in(limit, member):
                with self._lock:
                    return self._later(limit.name, high, time.monotonic() + MEMBERS_WAIT, MEMBERS_STEP)
        with self._lock:
            now = time.monotonic()
            if self._nodes.count is None or now > deadline:
                return Slot(False, AHEAD)
            return self._reserve([_even(limit) for limit in limits if not isinstance(limit, Members)], high, now)

    def ahead(self, limit: Limit, *, high: bool) -> timedelta | None:
        """Return how far off the next start is for who comes last in this process; None for a set."""
        if isinstance(limit, Members) or self._nodes.count is None:
            return None
        now = time.monotonic()
        opens = min(max(open_, now) for open_ in self._opens(_even(limit), high).values())
        if opens > now + _AHEAD:
            opens = max(opens, self._tails.get((limit.name, high), 0.0))
        return timedelta(seconds=opens - now)

    def _reserve(self, buckets: list[Bucket], high: bool, now: float) -> Slot:
        start, gate = now, None
        for bucket in buckets:
            opens = min(self._opens(bucket, high).values())
            if opens > start:
                start, gate = opens, bucket
        if gate is not None and start > now + _AHEAD:
            return self._later(gate.name, high, start, self._lanes(gate, high)["low"].step / 1e6)
        taken = []
        for bucket in buckets:
            opens_at = self._opens(bucket, high)
            pick = "high" if opens_at.get("high", math.inf) <= start else "low"
            if opens_at[pick] < now - _AHEAD:
                self._tails.pop((bucket.name, high), None)
            taken.append(self._take(bucket, pick, self._lanes(bucket, high)[pick], start))
        metrics.count("pace_alone")
        wait = start - now
        name = gate.name if gate else None
        return Slot(True, timedelta(seconds=wait), name, time.time() + wait, partial(self._undo, taken))

    def _take(self, bucket: Bucket, pick: str, lane: Lane, start: float) -> tuple[tuple[str, str], float, float]:
        key, step = (bucket.name, pick), lane.step / 1e6
        before = self._open.get(key, self._floor)
        self._open[key] = max(before, start - (lane.burst - 1) * step) + step
        return key, before, self._open[key]

    def _undo(self, taken: list[tuple[tuple[str, str], float, float]]) -> None:
        with self._lock:
            for key, before, after in taken:
                if self._open.get(key) == after:
                    self._open[key] = before

    def _opens(self, bucket: Bucket, high: bool) -> dict[str, float]:
        return {pick: self._open.get((bucket.name, pick), self._floor) for pick in self._lanes(bucket, high)}

    def _lanes(self, bucket: Bucket, high: bool) -> dict[str, Lane]:
        """Return this process's part of the lanes that a class may use."""
        part = self._nodes.slowed.get(bucket.name, 1.0) / (self._nodes.count or 1)
        low, kept = bucket.lanes
        lanes = {"low": low, "high": kept} if kept and high else {"low": low}
        return {
            pick: Lane(math.ceil(lane.step / part), max(1, lane.burst // (self._nodes.count or 1)))
            for pick, lane in lanes.items()
            if lane is not None
        }

    def _later(self, name: str, high: bool, opens: float, step: float) -> Slot:
        tail = max(self._tails.get((name, high), 0.0), opens)
        self._tails[name, high] = tail + step
        return Slot(False, timedelta(seconds=max(tail - _AHEAD / 2 - time.monotonic(), 0.001)), name)

    def _is_in(self, limit: Members, member: str | None) -> bool:
        """Say whether this member is surely in the set until the latest start that may be reserved now."""
        read, moments = self._members.get(limit.name, (-MEMBERS_AGE, {}))
        if time.monotonic() - read >= MEMBERS_AGE:
            try:
                moments = {each: at.timestamp() for each, at in limit.rebuild()}
            except (psycopg.Error, SQLAlchemyError) as error:
                if rarely("pace.members"):
                    log.warning("pace.members_unknown", bucket=limit.name, error=type(error).__name__)
            self._members[limit.name] = time.monotonic(), moments
        return moments.get(member or "", 0.0) + limit.window.total_seconds() > time.time() + 2 * _AHEAD


def _even(limit: Bucket | Window) -> Bucket:
    return limit.evenly if isinstance(limit, Window) else limit
