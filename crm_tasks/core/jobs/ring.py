"""The doorbell: Celery messages that carry only a job's id. Losing one loses nothing but time.

Rings leave on a thread of their own, so that a broker that hangs delays no request. The buffer is bounded and the
broker's lists are kept short: what does not fit is left to the scheduler, which rings whatever was not heard.
"""

import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from celery import current_app

from crm_tasks.config import settings
from crm_tasks.core import db, metrics
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.redis import manager

log = get_logger(__name__)

BUFFER = 20_000
# Above so many unheard rings in one queue, further ones wait in the ledger until it is their workspace's turn: who has
# begun a list must not fill it. Long jobs have few workers, so theirs is shorter.
BACKLOG, BACKLOG_LONG = 32, 2
# How long a process leaves a queue that it found full to the scheduler.
_FULL = 0.25
_BATCH = 500
_STEPS = {1: 0, 2: 0, 3: 0, 4: 3, 5: 3, 6: 6, 7: 6, 8: 6, 9: 9, 10: 9}
_SEP = "\x06\x16"
# What Celery's protocol 2 wants as a body: no args, no kwargs, nothing embedded.
_BODY: tuple[Any, ...] = ((), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})


class Ring(NamedTuple):
    """What a Celery message needs to know of a job."""

    id: uuid.UUID
    task: str
    queue: str
    priority: int


def step(priority: int) -> int:
    """Return the broker's priority of ours (1 first … 10 last): one of kombu's four lists per queue."""
    return _STEPS[priority]


def soon(rings: Sequence[Ring]) -> None:
    """Hand rings to this process's ringer and return at once."""
    if rings:
        _ringer().add(rings)


def has_room(queue: str) -> bool:
    """Say whether this process may ring a queue at once, as far as it knows without asking."""
    return _current is None or _current.has_room(queue)


def forget() -> None:
    """Forget which queues were full: for who has emptied the broker."""
    if _current is not None:
        _current.forget()


def flush(timeout: float = 2.0) -> bool:
    """Wait until this process's rings are out, at most `timeout` seconds; say whether they are."""
    return _current is None or _current.drained(timeout)


def publish(rings: Iterable[Ring]) -> int:
    """Send Celery messages now, pipelined where the broker can, and return how many.

    Raises:
        kombu.exceptions.OperationalError: the broker did not take them.
    """
    sent = 0
    with current_app.producer_pool.acquire(block=True) as producer:
        with producer.batch(max_size=_BATCH):
            for ring in rings:
                _send(producer, ring)
                sent += 1
    metrics.count("rings", sent)
    return sent


def _send(producer: Any, ring: Ring) -> None:
    job_id = str(ring.id)
    producer.publish(
        _BODY,
        serializer="json",
        # The default exchange routes by the queue's name: no binding that a FLUSHALL could take away.
        exchange="",
        routing_key=ring.queue,
        declare=[] if settings().broker_is_redis else [current_app.amqp.queues[ring.queue]],
        priority=step(ring.priority),
        correlation_id=job_id,
        delivery_mode=2,
        retry=False,
        headers={
            "lang": "py",
            "task": ring.task,
            "id": job_id,
            "root_id": job_id,
            "parent_id": None,
            "group": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "",
            "kwargsrepr": "",
            "origin": "ledger",
            "ignore_result": True,
        },
    )


def unring(ids: Sequence[uuid.UUID]) -> None:
    """Mark jobs as not rung, so that the scheduler rings them as soon as it can."""
    with db.autocommit() as connection:
        connection.execute("UPDATE jobs SET rung_at = NULL WHERE id = ANY(%s) AND state = 'queued'", (list(ids),))


class _Ringer:
    """A daemon thread with a bounded buffer; one per process, made anew after a fork."""

    def __init__(self) -> None:
        self._buffer: deque[Ring] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._backlog: dict[str, tuple[float, int]] = {}
        self._full: dict[str, float] = {}
        threading.Thread(target=self._run, name="ringer", daemon=True).start()

    def add(self, rings: Sequence[Ring]) -> None:
        with self._changed:
            room = BUFFER - len(self._buffer)
            self._buffer.extend(rings[:room])
            self._changed.notify()
        if len(rings) > room:
            # Their rows say "rung": the scheduler finds that the broker never heard of them.
            metrics.count("rings_dropped", len(rings) - room)

    def drained(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._buffer and not self._busy, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._buffer)
                rings = [self._buffer.popleft() for _ in range(min(len(self._buffer), _BATCH))]
                self._busy = True
            try:
                self._ring(rings)
            except Exception as error:  # noqa: BLE001  the thread must outlive whatever a broker can raise
                self._give_up(rings, error)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def has_room(self, queue: str) -> bool:
        return time.monotonic() >= self._full.get(queue, 0.0)

    def forget(self) -> None:
        self._backlog, self._full = {}, {}

    def _ring(self, rings: list[Ring]) -> None:
        short = [ring for ring in rings if self._may_ring(ring.queue)]
        publish(short)
        if len(short) < len(rings):
            metrics.count("rings_left", len(rings) - len(short))
            rung = {ring.id for ring in short}
            unring([ring.id for ring in rings if ring.id not in rung])

    def _give_up(self, rings: list[Ring], error: Exception) -> None:
        metrics.count("rings_failed", len(rings))
        if rarely("ring.failed", 10):
            log.warning("ring.failed", jobs=len(rings), error=f"{type(error).__name__}: {error}"[:200])
        try:
            unring([ring.id for ring in rings])
        except Exception:  # noqa: BLE001  without Postgres too, the scheduler finds them when both are back
            time.sleep(0.1)

    def _may_ring(self, queue: str) -> bool:
        """Count one more ring of a queue; asks the broker when the count says that it is full, or is a second old."""
        if not self.has_room(queue):
            return False
        most = BACKLOG if settings().queues[queue].pool == "threads" else BACKLOG_LONG
        asked, length = self._backlog.get(queue, (0.0, 0))
        if length >= most or time.monotonic() - asked > 1.0:
            asked, length = time.monotonic(), broker_length(queue)
        if length >= most:
            self._full[queue] = time.monotonic() + _FULL
        self._backlog[queue] = (asked, length + 1)
        return length < most


def broker_keys(queue: str) -> list[str]:
    """Return the names of the broker's lists of a queue, the most urgent first (kombu's Redis transport)."""
    prefix = settings().key_prefix
    return [f"{prefix}{queue}{f'{_SEP}{n}' if n else ''}" for n in sorted(set(_STEPS.values()))]


def broker_length(queue: str) -> int:
    """Return how many unheard rings the broker holds for a queue; RabbitMQ is not asked, its queues live on disk."""
    if not settings().broker_is_redis:
        return 0
    pipe = manager().client("broker").pipeline(transaction=False)
    for key in broker_keys(queue):
        pipe.llen(key)
    return sum(pipe.execute())


_current: _Ringer | None = None
_lock = threading.Lock()


def _ringer() -> _Ringer:
    global _current
    if _current is None:
        with _lock:
            if _current is None:
                _current = _Ringer()
    return _current


def _after_fork() -> None:
    global _lock, _current
    _lock, _current = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)
