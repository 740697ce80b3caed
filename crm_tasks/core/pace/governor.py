"""The way in: with Redis the account of all, without it this process's part, and no start too many on the way back."""

import os
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import psycopg
import redis
from sqlalchemy.exc import SQLAlchemyError

from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.pace import learned, shared
from crm_tasks.core.pace.alone import Alone, Nodes
from crm_tasks.core.pace.buckets import AHEAD, HIGH, Bucket, Limit, Members, Slot, Wish
from crm_tasks.core.redis import manager

log = get_logger(__name__)


class Governor:
    """Whether this process has Redis, and what it does meanwhile."""

    def __init__(self) -> None:
        self._nodes = Nodes()
        self._alone: Alone | None = None
        # Monotonic moments: the last answer of Redis, and the last that did not come.
        self._answered = self._failed = time.monotonic()
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def reserve(self, limits: Sequence[Limit], *, high: bool, member: str | None) -> Slot:
        """Reserve from Redis, or else alone."""
        if self._alone is None:
            try:
                slot = shared.reserve(limits, high=high, member=member, away=0.0)
                self._answered = time.monotonic()
                return slot
            except redis.RedisError as error:
                self._lost(error)
        if time.monotonic() - self._failed >= shared.LAG.total_seconds():
            back = self._ask(limits, high, member)
            if back is not None:
                return back
        alone = self._alone
        if alone is None:
            return Slot(False, AHEAD / 2)
        deadline = self._failed + shared.LAG.total_seconds()
        return alone.reserve(limits, high=high, member=member, deadline=deadline)

    def reserve_many(self, wishes: Sequence[Wish]) -> list[Slot]:
        """Reserve from Redis with one question, or else each alone."""
        if self._alone is None:
            try:
                slots = shared.reserve_many(wishes)
                self._answered = time.monotonic()
                return slots
            except redis.RedisError as error:
                self._lost(error)
        return [self.reserve(wish.limits, high=wish.high, member=wish.member) for wish in wishes]

    def ahead(self, limit: Limit, *, high: bool) -> timedelta | None:
        """Look at the account of Redis, or else at this process's own."""
        alone = self._alone
        if alone is not None:
            return alone.ahead(limit, high=high)
        try:
            return shared.ahead(limit, high=high)
        except redis.RedisError:
            return None

    def _ask(self, limits: Sequence[Limit], high: bool, member: str | None) -> Slot | None:
        """Ask whether Redis is back, and close its account until nobody goes on alone; one thread at a time."""
        if not self._asking.acquire(blocking=False):
            return Slot(False, AHEAD / 2)
        try:
            slot = shared.reserve(limits, high=high, member=member, away=time.monotonic() - self._answered)
        except redis.RedisError:
            self._failed = time.monotonic()
            return None
        else:
            with self._lock:
                self._alone, self._answered = None, time.monotonic()
            log.info("pace.redis_back")
            return slot
        finally:
            self._asking.release()

    def _lost(self, error: redis.RedisError) -> None:
        with self._lock:
            if self._alone is None:
                self._alone = Alone(self._nodes)
                # At once again, with word of the absence: a server that only stood still reads it before all others.
                self._failed = time.monotonic() - shared.LAG.total_seconds()
        if rarely("pace.away"):
            log.warning("pace.away", error=type(error).__name__)
        # Its other connections are as old: each would be taken for another absence.
        manager().client().connection_pool.disconnect(inuse_connections=False)


_governor = Governor()


def _after_fork() -> None:
    global _governor
    _governor = Governor()


os.register_at_fork(after_in_child=_after_fork)


def reserve(limits: Sequence[Limit], *, priority: int = 5, member: str | None = None) -> Slot:
    """Reserve one start, within the next second, in all of these buckets or in none of them.

    A slot that is not reserved says when to come back; it is told to one job at a time, so come back then.

    Raises:
        ValueError: a limit of members without a member.
    """
    if member is None and any(isinstance(limit, Members) for limit in limits):
        raise ValueError("A limit of members needs a member.")
    if not limits:
        return Slot(True, timedelta(0))
    return _governor.reserve(limits, high=priority <= HIGH, member=member)


def reserve_many(wishes: Sequence[Wish]) -> list[Slot]:
    """Reserve one start for each of these, as `reserve` does, with one question to Redis for all."""
    limited = [wish for wish in wishes if wish.limits]
    slots = iter(_governor.reserve_many(limited) if limited else [])
    return [next(slots) if wish.limits else Slot(True, timedelta(0)) for wish in wishes]


def give_back(slot: Slot) -> None:
    """Return a reserved slot that was not used. What others have built upon since stays taken: that breaks no limit."""
    if slot.undo is not None:
        try:
            slot.undo()
        except redis.RedisError as error:
            log.info("pace.not_given_back", error=type(error).__name__)


def wait_for(limits: Sequence[Limit], *, priority: int = 5, member: str | None = None) -> timedelta:
    """Reserve and wait for the start here, at most a second; return how long to stay away instead."""
    slot = reserve(limits, priority=priority, member=member)
    if not slot.reserved:
        return slot.wait
    time.sleep(slot.wait.total_seconds())
    return timedelta(0)


def wait_for_job(queue: str, task: str, priority: int = 5) -> timedelta:
    """Wait for a job's turn by the rates of its queue and its task; return how long it has to stay away instead."""
    rates = {f"queue:{queue}": settings().queues[queue].rate, f"task:{task}": settings().task_rates.get(task)}
    buckets = [Bucket(name, rate[0] / rate[1].total_seconds()) for name, rate in rates.items() if rate is not None]
    return wait_for(buckets, priority=priority) if buckets else timedelta(0)


def ahead(limit: Limit, priority: int = 5) -> timedelta | None:
    """Return how far off the start is of who comes next with this priority; reserves nothing. None: nobody knows."""
    return _governor.ahead(limit, high=priority <= HIGH)


def forget_members(name: str) -> None:
    """Have the members of a set read from Postgres again, before anybody new enters: what it is made of has changed."""
    try:
        shared.forget_members(name)
    except redis.RedisError as error:
        # Whoever finds it again after an absence closes its account, and sets are read again then.
        log.info("pace.not_forgotten", bucket=name, error=type(error).__name__)


def slow_down(name: str) -> None:
    """Halve a bucket's rate for all processes: a provider refused for speed (for instance error 130429).

    At most once in two seconds, so that one burst of refusals is one halving; a tenth of the configured rate comes back
    every 30 s.
    """
    try:
        factor = learned.halve(name)
    except (psycopg.Error, SQLAlchemyError) as error:
        log.warning("pace.not_learned", bucket=name, error=type(error).__name__)
        return
    if factor is None:
        return
    metrics.count("pace_slowed")
    log.warning("pace.slowed", bucket=name, factor=factor)
    try:
        shared.slow(name, factor)
    except redis.RedisError:
        log.info("pace.slowed_without_redis", bucket=name)


def begin() -> None:
    """Open the account of an empty Redis before there is work, which would wait two seconds for it."""
    try:
        shared.begin()
    except redis.RedisError as error:
        log.info("pace.not_begun", error=type(error).__name__)
