"""A worker process: what it says at its start, how it lives, how it ends. Connected to Celery by its signals."""

import gc
import os
import sys
import threading
import time
import warnings
from contextlib import suppress
from functools import partial
from typing import Any

import sqlalchemy as sa
from celery import signals
from celery.apps.worker import Worker as CeleryWorker
from celery.concurrency import get_implementation
from celery.concurrency.thread import TaskPool
from celery.exceptions import ImproperlyConfigured, SecurityWarning
from celery.utils.functional import maybe_list
from celery.utils.text import str_to_list
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.control import Panel

from crm_tasks.config import settings
from crm_tasks.core import background, broker, db, log, metrics, migrate, namesakes, pulse, redis, sweep
from crm_tasks.core.errors import ConfigError, DomainError, UnknownQueue
from crm_tasks.core.jobs import registry, repair, ring
from crm_tasks.core.pool import ThreadPool, connect
from crm_tasks.core.probe import probe_broker, probe_postgres, wait_until_ready
from crm_tasks.core.queues import BACKGROUND, queue_named
from crm_tasks.core.task import over_limit

logger = log.get_logger(__name__)

# Celery's warning of root is about pickle, which this app does not accept; a container's only user is root.
warnings.filterwarnings("ignore", category=SecurityWarning)

THREADS, CHILDREN = 20, 2
# A worker with so many of its threads stuck past their limit is of no more use: it ends, and is started again.
STUCK_SHARE = 0.25
EX_STUCK = 75
STOP_GRACE = 30.0
START_WITHIN, RECONNECT_CAP = 30.0, 5.0
EVENTS_EVERY, EVENTS_AT_ONCE = 0.25, 1_000


class Consumer(CeleryConsumer):
    """Celery's consumer, with events for Flower sent a few times a second by a thread instead of after each job.

    The loop's thread hands out the work: every moment that it waits for a socket, no job starts. With RabbitMQ it is
    the loop that sends them: it reads that connection, so another thread would wait for ever for a confirmation.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if settings().broker_is_redis:
            threading.Thread(target=self._send_events, name="events", daemon=True).start()

    def ensure_connected(self, conn: Any) -> Any:
        """Connect to the broker, for ever, with at most 5 s between tries."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.5, interval_step=0.5, interval_max=RECONNECT_CAP
        )
        return super().ensure_connected(conn)

    def on_send_event_buffered(self) -> None:
        """Leave a buffered event to the thread, or to the loop."""
        if not settings().broker_is_redis:
            self.event_dispatcher.buffer_limit = sys.maxsize  # or whoever filled the buffer would send it
            super().on_send_event_buffered()

    def _send_events(self) -> None:
        while True:
            time.sleep(EVENTS_EVERY)
            dispatcher = self.event_dispatcher
            if dispatcher is None:
                continue
            dispatcher.buffer_limit = EVENTS_AT_ONCE
            with suppress(*self.connection_errors, *self.channel_errors):
                dispatcher.flush()


class Worker(CeleryWorker):
    """Celery's worker, which also takes the older names of queues and knows its size without `-c`."""

    def __init__(self, *args: Any, concurrency: Any = None, pool: Any = None, pool_cls: Any = None, **kw: Any) -> None:
        chosen = get_implementation(pool or pool_cls or self.app.conf.worker_pool)
        threads = issubclass(chosen, TaskPool)
        super().__init__(
            *args,
            concurrency=concurrency or settings().queue_concurrency or (THREADS if threads else CHILDREN),
            pool=ThreadPool if threads else chosen,
            **kw,
        )

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        """Select queues by their names or older names.

        Raises:
            ImproperlyConfigured: names the queues there are.
        """
        try:
            include, exclude = (
                [queue_named(name) for name in str_to_list(names) or ()] for names in (include, exclude)
            )
        except UnknownQueue as error:
            raise ImproperlyConfigured(error.message) from None
        super().setup_queues(include, exclude)
        if BACKGROUND.issuperset(self.app.amqp.queues.consume_from):
            background.step_back()


@signals.worker_init.connect
def _wait_for_stores(sender: Any, **_: Any) -> None:
    """Start only with both stores there: bounded, then a clear exit that a supervisor can act on."""
    threads = issubclass(get_implementation(sender.pool_cls), TaskPool)
    size = min(sender.concurrency, settings().database_pool_size) if threads else 2
    db.configure(pool_size=size, pool_timeout=30.0)
    config = settings()
    try:
        wait_until_ready(partial(probe_broker, config.broker_url), START_WITHIN)
        wait_until_ready(partial(probe_postgres, config.database_url), START_WITHIN)
        _wait_for_tables()
    except ConfigError as error:
        logger.critical("worker.no_stores", problem=str(error))
        raise SystemExit(1) from None
    db.dispose()


def _wait_for_tables() -> None:
    """Wait for the tables of this version: another host may be migrating."""
    deadline = time.monotonic() + START_WITHIN
    while db.retrying(migrate.version) != migrate.head():
        if time.monotonic() > deadline:
            raise ConfigError(f"Postgres has not the tables of version {migrate.head()}: run `crm migrate`.")
        time.sleep(0.5)


@signals.worker_ready.connect
def _begin(sender: Any, **_: Any) -> None:
    worker = sender.controller
    queues = tuple(str(name) for name in worker.app.amqp.queues.consume_from)
    pool = "threads" if isinstance(worker.pool, ThreadPool) else type(worker.pool).__module__.rsplit(".", 1)[-1]
    identity = pulse.Identity(
        kind="worker",
        name=worker.hostname,
        queues=queues,
        tasks=tuple(registry.task_names()),
        pool=pool,
        concurrency=worker.concurrency,
    )
    beat = pulse.start(identity, over_limit)
    namesakes.forsake(worker.hostname, beat.name)
    logger.info(
        "worker.started",
        name=beat.name,
        pool=pool,
        concurrency=worker.concurrency,
        queues={name: _limits(name) for name in queues},
        database_connections=_connections(worker, pool),
    )
    broker.ask_free(lambda: worker.concurrency - len(worker_state.reserved_requests))
    db.dispose()  # an idle worker keeps one connection, its pulse's
    connect(worker.pool, sender.hub)
    threading.Thread(target=_watch_stuck, args=(worker, beat), name="stuck", daemon=True).start()


def _limits(queue: str) -> dict[str, Any]:
    policy = settings().queues[queue]
    return {
        "attempts": policy.attempts,
        "time_limit": policy.time_limit,
        "cap": policy.concurrency,
        "rate": f"{policy.rate[0]} per {policy.rate[1]}" if policy.rate else None,
    }


def _connections(worker: Any, pool: str) -> dict[str, int]:
    """Return how many connections this worker may open, beside what the server has and allows."""
    each = min(worker.concurrency, settings().database_pool_size) + 1 if pool == "threads" else 3
    with db.transaction() as session:
        allowed = int(session.scalar(sa.text("SHOW max_connections")))
        used = session.scalar(sa.text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    mine = each if pool == "threads" else each * worker.concurrency + 1
    return {"mine": mine, "in_use": used or 0, "allowed": allowed}


def _watch_stuck(worker: Any, beat: pulse.Pulse) -> None:
    """End a worker whose threads are stuck: it takes no more work, lets the rest finish, and exits to be restarted."""
    while True:
        time.sleep(1.0)
        if beat.stuck() >= max(1, worker.concurrency * STUCK_SHARE):
            logger.critical("worker.stuck", threads=beat.stuck(), of=worker.concurrency)
            worker_state.should_stop = EX_STUCK
            time.sleep(STOP_GRACE)
            beat.stop()
            os._exit(EX_STUCK)


@signals.worker_shutting_down.connect
def _say_stopping(**_: Any) -> None:
    logger.info("worker.stopping", running=len(beat.running()) if (beat := pulse.current()) else 0)


@signals.worker_before_create_process.connect
def _share_memory(**_: Any) -> None:
    """What is there at the fork stays shared: the collector of a child must not write to it."""
    gc.collect()
    gc.freeze()


@signals.worker_process_shutdown.connect
def _end_child(**_: Any) -> None:
    _end()


@signals.worker_shutdown.connect
def _end(**_: Any) -> None:
    """Close in order: rings out, goodbye to the ledger, then the connections."""
    ring.flush()
    pulse.stop()
    redis.manager().close_all()
    db.dispose()


# --- messages that Celery would drop -----------------------------------------------------------------------------


@signals.task_unknown.connect
def _on_unknown_task(name: str = "", id: str = "", **_: Any) -> None:
    threading.Thread(target=sweep.park_unknown, args=(str(id), str(name)), daemon=True).start()


@signals.task_rejected.connect
def _on_rejected(message: Any = None, **_: Any) -> None:
    """A message that cannot be read: its job is still queued, and the scheduler will ring it again."""
    metrics.count("rings_foreign")
    headers = getattr(message, "headers", None) or {}
    logger.error("job.unreadable_message", job_id=str(headers.get("id", ""))[:64])


# --- Flower's buttons --------------------------------------------------------------------------------------------


def _cancel_in_ledger(state: Any, task_id: Any, **_: Any) -> dict[str, str]:
    """A revoke cancels in the ledger; Celery's own would silently swallow every later ring of that id."""
    ids = [str(each) for each in maybe_list(task_id) or []]
    threading.Thread(target=_cancel_all, args=(ids,), daemon=True).start()
    return {"ok": f"cancelling {', '.join(ids)} in the ledger"}


def _cancel_all(ids: list[str]) -> None:
    for each in ids:
        try:
            job_id = registry.job_id(each)
            db.retrying(repair.cancel, job_id, actor="celery revoke", reason="revoked in Celery")
        except DomainError as error:
            logger.info("job.not_cancelled", job_id=each[:64], reason=error.message)


Panel.data["revoke"] = _cancel_in_ledger
Panel.data["terminate"] = lambda state, signal=None, task_id=None, **_: _cancel_in_ledger(state, task_id)
