"""The state of the whole system on one screen: `crm status` prints it, `/admin/` shows it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, holds, migrate, overview
from crm_tasks.core.jobs.model import QUEUED_HALVES, Hold, Job, Process
from crm_tasks.core.overview import QueueRow
from crm_tasks.core.probe import Probe, probe_broker, probe_postgres, probe_redis
from crm_tasks.core.redis import manager
from crm_tasks.messages.models import Message, MessageState

BOUND = 2.0


@dataclass(slots=True)
class Store:
    """A server, and what a look at it found."""

    name: str
    probe: Probe


@dataclass(slots=True)
class Status:
    """Everything on the screen; what needs Postgres is empty while that is away."""

    stores: list[Store]
    supervised: list[dict[str, Any]] = field(default_factory=list)
    queues: list[QueueRow] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    unknown_tasks: dict[str, int] = field(default_factory=dict)
    scheduler_age: float | None = None
    oldest: Job | None = None
    now: datetime | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.problems


def collect() -> Status:
    """Look at everything; each store within two seconds."""
    config = settings()
    found = Status(stores=[Store("Postgres", probe_postgres(config.database_url, BOUND))])
    found.stores.append(Store("Redis", probe_redis(config.redis_url, BOUND)))
    if config.broker_url != config.redis_url:
        found.stores.append(Store("Broker", probe_broker(config.broker_url, BOUND)))
    found.problems += [store.probe.message for store in found.stores if not store.probe.ok]
    if config.broker_is_redis and found.stores[-1].probe.ok:
        found.problems += _eviction()
    if found.stores[0].probe.ok:
        with db.transaction() as session:
            _from_ledger(session, found)
    return found


def _from_ledger(session: Session, found: Status) -> None:
    if migrate.version(session) != migrate.head():
        found.problems.append("The tables are not of this version: run `crm migrate`.")
        return
    found.now = session.scalar(sa.select(db.now()))
    found.queues = overview.queues_lately(session)
    found.processes = overview.processes(session)
    found.holds = holds.listed(session)
    found.scheduler_age = overview.scheduler_age(session)
    found.unknown_tasks = overview.unknown_tasks(session)
    found.oldest = _oldest(session)
    found.problems += _problems(found) + _undecided(session)


def _oldest(session: Session) -> Job | None:
    """Return the job that waits longest."""
    first = sa.select(Job).where(Job.run_at <= db.now()).order_by(Job.run_at).limit(1)
    found = [session.scalar(first.where(half)) for half in QUEUED_HALVES]
    return min((job for job in found if job is not None), key=lambda job: job.run_at, default=None)


def _eviction() -> list[str]:
    try:
        policy = manager().client("broker").info("memory").get("maxmemory_policy", "noeviction")
    except redis.RedisError:  # not every user may ask
        return []
    return [] if policy == "noeviction" else [f"Redis may throw work away ({policy}): set maxmemory-policy noeviction."]


def _undecided(session: Session) -> list[str]:
    old = Message.created_at < db.now() - settings().unknown_wait
    count = session.scalar(sa.select(sa.func.count()).where(Message.state == MessageState.UNKNOWN, old))
    return [f"{count} messages may have been sent and may not: `crm message unknown`."] if count else []


def _problems(found: Status) -> list[str]:
    problems = []
    if found.scheduler_age is None or found.scheduler_age > 15:
        problems.append("No scheduler runs: delayed and lost work waits. Start `celery -A crm_tasks beat`.")
    served = {queue for process in found.processes if process.kind == "worker" for queue in process.queues}
    for row in found.queues:
        if row.waiting and row.name not in served:
            problems.append(f"{row.waiting} jobs wait in {row.name}, and no worker takes that queue.")
        elif row.late:
            problems.append(
                f"{row.name}: the oldest job waits {row.oldest_age:.0f} s, the target is {row.target_age:g} s."
            )
        if row.failed:
            problems.append(f"{row.failed} dead letters in {row.name}: `crm dlq stats`.")
    for task, jobs in found.unknown_tasks.items():
        problems.append(f"{jobs} jobs of {task!r} wait for a worker that knows this task.")
    return problems
