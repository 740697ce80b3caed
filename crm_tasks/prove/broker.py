"""What must be true of Redis: it carries only ids that the ledger knows, and nothing that lives for ever."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import sweep
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.model import Job
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager
from crm_tasks.prove.invariant import Invariant

# A ring is repeated after at most 320 s.
_LONG = timedelta(minutes=15)
# What waits for another of its serial key is not rung.
_LATE = """
    SELECT id, task, queue, rung_at FROM jobs
    WHERE state = 'queued' AND held_by IS NULL AND run_at < crm_now() - cast(:long AS interval)
      AND (rung_at < now() - cast(:long AS interval) OR (rung_at IS NULL AND serial_key IS NULL))
      AND EXISTS (SELECT FROM watermarks WHERE name = 'scheduler' AND at > now() - interval '10 s')
"""


def _rings_are_known(session: Session, _grace: timedelta) -> Iterator[str]:
    if not settings().broker_is_redis:
        return  # RabbitMQ's queues cannot be read without taking from them
    client = manager().client("broker")
    for queue in Queue:
        waiting = {bytes(each) for key in ring.broker_keys(queue) for each in client.lrange(key, 0, -1)}  # type: ignore[arg-type]
        ids = {message: _id_of(message) for message in waiting}
        wanted = {job_id for job_id in ids.values() if job_id is not None}
        known = set(session.scalars(sa.select(Job.id).where(Job.id.in_(wanted)))) if wanted else set()
        for message, job_id in sorted(ids.items()):
            if job_id is None:
                yield f"{queue}: a message that is no ring: {message[:64].decode(errors='replace')}"
            elif job_id not in known:
                yield f"{queue}: a message for {job_id}, which is not in the ledger"


def _lost_rings_are_repeated(session: Session, _grace: timedelta) -> Iterator[str]:
    late = session.execute(sa.text(_LATE), {"long": _LONG}).all()
    rung = {queue: sweep.at_broker(queue) for queue in {job.queue for job in late}}
    for job in late:
        # Behind others that are rung or a cap a job may wait for long.
        capped = settings().queues[job.queue].concurrency is not None
        waits = len(rung[job.queue]) >= sweep.RUNG_AT_ONCE or (job.rung_at is None and bool(rung[job.queue] or capped))
        if not waits and str(job.id) not in rung[job.queue]:
            yield f"{job.id} ({job.task}) is due and was last rung {job.rung_at or 'never'}"


def _keys_expire(_session: Session, _grace: timedelta) -> Iterator[str]:
    client, prefix = manager().client(), settings().key_prefix
    for kind in ("cache", "pace"):
        for key in client.scan_iter(f"{prefix}{kind}:*", count=1000):
            if client.ttl(key) == -1:
                yield f"{key.decode(errors='replace')} lives for ever"


def _id_of(message: bytes) -> uuid.UUID | None:
    try:
        return uuid.UUID(orjson.loads(message)["headers"]["id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


INVARIANTS = (
    Invariant("rings", "Every message at the broker names a job of the ledger.", _rings_are_known),
    Invariant("lost rings", "While a scheduler runs, what is due is rung again and again.", _lost_rings_are_repeated),
    Invariant("keys", "Every key of the cache and of the pace expires.", _keys_expire),
)
