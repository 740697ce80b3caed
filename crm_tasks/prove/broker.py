"""What must be true of Redis: it carries only ids that the ledger knows, and nothing that lives for ever."""

import uuid
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import sweep
from crm_tasks.core.jobs.model import Job
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager
from crm_tasks.prove.invariant import Invariant


def _rings_are_known(session: Session) -> Iterable[str]:
    for queue in Queue:
        waiting = sweep.at_broker(queue) if settings().broker_is_redis else set()
        ids = {made for text in waiting if (made := _uuid(text))}
        known = set(session.scalars(sa.select(Job.id).where(Job.id.in_(ids)))) if ids else set()
        for text in sorted(waiting):
            if _uuid(text) not in known:
                yield f"{queue}: a message for {text[:64]}, which is not in the ledger"


def _keys_expire(_session: Session) -> Iterable[str]:
    client, prefix = manager().client(), settings().key_prefix
    for kind in ("cache", "pace"):
        for key in client.scan_iter(f"{prefix}{kind}:*", count=1000):
            if client.ttl(key) == -1:
                yield f"{key.decode(errors='replace')} lives for ever"


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


INVARIANTS = (
    Invariant("rings", "Every message at the broker names a job of the ledger.", _rings_are_known),
    Invariant("keys", "Every key of the cache and of the pace expires.", _keys_expire),
)
