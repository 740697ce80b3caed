"""The pulse of a process: says that it lives, renews the leases of what it runs, and ends what runs too long.

One thread per process with a connection of its own, so that a full pool never costs a lease.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

import crm_tasks
from crm_tasks.config import settings
from crm_tasks.core import db, metrics
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id

log = get_logger(__name__)

_TICK = 1.0
_REGISTER = """
    INSERT INTO processes (id, kind, name, host, machine, pid, queues, tasks, pool, concurrency, version)
    VALUES (%(id)s, %(kind)s, %(name)s, %(host)s, %(machine)s, %(pid)s, %(queues)s, %(tasks)s, %(pool)s,
            %(concurrency)s, %(version)s)
    ON CONFLICT (id) DO NOTHING
"""
_BEAT = "UPDATE processes SET seen_at = now(), counters = %s, running = %s WHERE id = %s"
_STOP = "UPDATE processes SET stopped_at = now(), seen_at = now(), counters = %s WHERE id = %s"
_RENEW = """
    UPDATE jobs SET lease_until = now() + make_interval(secs => %s)
    FROM (SELECT j.id FROM jobs j JOIN unnest(%s::uuid[], %s::int[]) AS m(id, claim_no) USING (id)
          WHERE j.claim_no = m.claim_no AND j.state = 'running' ORDER BY j.id FOR UPDATE OF j) AS mine
    WHERE jobs.id = mine.id
    RETURNING jobs.id, jobs.claim_no
"""


_BOOT, _PIDS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def machine() -> str | None:
    """Return what tells where a pid of this process means something; None where the system does not say."""
    try:
        return f"{_BOOT.read_text().strip()} {_PIDS.readlink()}"
    except OSError:
        return None


_Key = tuple[uuid.UUID, int]


def _key(claim: Claim) -> _Key:
    return claim.id, claim.claim_no


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a process tells about itself."""

    kind: str
    name: str
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    pool: str | None = None
    concurrency: int | None = None


class Pulse:
    """The pulse thread of this process."""

    def __init__(self, identity: Identity, over_limit: Callable[[Claim], None] | None = None) -> None:
        self.id = new_id()
        self.pid = os.getpid()
        self.name = f"{identity.name}:{str(self.id)[-6:]}"
        self.identity = identity
        self._over_limit = over_limit
        # By claim and not by job: a job may come back to a process where an earlier claim of it is stuck.
        self._claims: dict[_Key, Claim] = {}
        self._stuck: set[_Key] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._connection: psycopg.Connection | None = None
        self._due = 0.0
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def track(self, claim: Claim) -> None:
        """Renew this claim's lease until `untrack`."""
        with self._lock:
            self._claims[_key(claim)] = claim

    def untrack(self, claim: Claim) -> None:
        """Stop renewing: the job is over, or its thread came back after all."""
        with self._lock:
            self._claims.pop(_key(claim), None)
            self._stuck.discard(_key(claim))

    def stuck(self) -> int:
        """Return how many threads still run a task that is past its time limit."""
        with self._lock:
            return len(self._stuck)

    def running(self) -> list[Claim]:
        """Return the claims of this process."""
        with self._lock:
            return list(self._claims.values())

    def stop(self) -> None:
        """Say goodbye: what this process still held is then no crash of it."""
        self._stop.set()
        self._thread.join(timeout=3)

    def _run(self) -> None:
        while not self._stop.wait(_TICK if self._due else 0.0):
            self._limit()
            if time.monotonic() >= self._due:
                self._safely(self._beat)
        self._safely(self._goodbye)
        with suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.close()

    def _safely(self, act: Callable[[psycopg.Connection], None]) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = db.dedicated(connect_timeout=3)
            act(self._connection)
        except Exception as error:  # noqa: BLE001  whatever it is, the next beat must come
            metrics.count("lease_renewals_failed")
            log.warning("pulse.failed", error=type(error).__name__)
            with suppress(psycopg.Error):
                if self._connection is not None:
                    self._connection.close()
            self._connection = None
            self._due = time.monotonic() + _TICK

    def _beat(self, connection: psycopg.Connection) -> None:
        self._renew(connection)
        values = (db.dumps(metrics.snapshot()), len(self.running()), self.id)
        if connection.execute(_BEAT, values).rowcount == 0:
            self._register(connection)
        self._due = time.monotonic() + settings().lease_renewal.total_seconds()

    def _register(self, connection: psycopg.Connection) -> None:
        me = self.identity
        values: dict[str, Any] = {
            "id": self.id,
            "kind": me.kind,
            "name": self.name,
            "host": socket.gethostname(),
            "machine": machine(),
            "pid": self.pid,
            "queues": list(me.queues),
            "tasks": list(me.tasks),
            "pool": me.pool,
            "concurrency": me.concurrency,
            "version": crm_tasks.__version__,
        }
        connection.execute(_REGISTER, values)

    def _renew(self, connection: psycopg.Connection) -> None:
        claims = [claim for claim in self.running() if _key(claim) not in self._stuck and not claim.lost]
        if not claims:
            return
        lease = settings().lease.total_seconds()
        asked = time.monotonic()
        rows = connection.execute(_RENEW, (lease, [c.id for c in claims], [c.claim_no for c in claims]))
        renewed = set(rows)
        for claim in claims:
            if _key(claim) in renewed:
                claim.lease_end = asked + lease
            elif not claim.finished:
                claim.lost = True

    def _limit(self) -> None:
        """Take back what runs past its limit: a thread cannot be stopped, but its outcome can be fenced."""
        for claim in self.running():
            limit = settings().queues[claim.queue].time_limit
            if claim.finished or claim.storing or _key(claim) in self._stuck:
                continue
            if time.monotonic() - claim.claimed < limit:
                continue
            with self._lock:
                self._stuck.add(_key(claim))
            claim.lost = True
            if self._over_limit is not None:
                # Not on this thread: it may have to wait for a connection, and the other leases must not.
                threading.Thread(target=self._take_back, args=(claim,), name="over limit", daemon=True).start()

    def _take_back(self, claim: Claim) -> None:
        assert self._over_limit is not None
        try:
            self._over_limit(claim)
        except Exception:
            log.exception("pulse.limit_failed", job_id=str(claim.id))

    def _goodbye(self, connection: psycopg.Connection) -> None:
        connection.execute(_STOP, (db.dumps(metrics.snapshot()), self.id))


_current: Pulse | None = None
_lock = threading.Lock()


def start(identity: Identity, over_limit: Callable[[Claim], None] | None = None) -> Pulse:
    """Begin the pulse of this process; a second call in the same process returns the first."""
    global _current
    with _lock:
        if _current is None:
            _current = Pulse(identity, over_limit)
        return _current


def _after_fork() -> None:
    """A lock that another thread held at the fork would stay locked for ever in the child."""
    global _lock, _current
    _lock, _current = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)


def current() -> Pulse | None:
    """Return the pulse of this process, if it has one."""
    return _current


def stop() -> None:
    """End the pulse of this process."""
    if (pulse := current()) is not None:
        pulse.stop()
