"""The Celery app: `celery -A crm_tasks worker|beat|flower`. The broker carries ids; the ledger is in Postgres."""

import ssl
from typing import Any

from celery import Celery, signals
from kombu.entity import Exchange
from kombu.entity import Queue as BrokerQueue

from crm_tasks.config import settings
from crm_tasks.core import log
from crm_tasks.core.queues import POLICIES, Queue

# One module of tasks per room; importing the app imports none of them.
ROOMS = ("messages", "campaigns", "email", "ai", "analytics", "notifications", "webhooks", "imports", "exports")
# What a room does beside its main business.
MORE_TASKS = ("crm_tasks.imports.bulk_tasks",)

_CHECKED = {"ssl_cert_reqs": ssl.CERT_REQUIRED}


class CRMCelery(Celery):
    """Celery with our worker, our scheduler and our base task."""

    task_cls = "crm_tasks.core.task:CRMTask"

    @property
    def Worker(self) -> Any:  # noqa: N802  Celery's name
        """Return the worker class."""
        return self.subclass_with_self("crm_tasks.core.worker:Worker")

    @property
    def Beat(self) -> Any:  # noqa: N802
        """Return the class of a process that schedules."""
        return self.subclass_with_self("crm_tasks.core.scheduler:Beat")


def _broker() -> dict[str, Any]:
    """Return what differs between the two brokers (see docs/scaling.md)."""
    config = settings()
    if config.broker_is_redis:
        return {
            "broker_transport": "crm_tasks.core.broker:Transport",
            # Kombu would not check the certificate of a rediss:// URL that does not ask for it.
            "broker_use_ssl": _CHECKED if config.broker_url.startswith("rediss") else None,
            "broker_transport_options": {
                "global_keyprefix": config.key_prefix,
                # No retry_on_timeout: it would switch kombu's pipelined publishing off.
                "socket_timeout": config.redis_timeout,
                "socket_connect_timeout": 5,
                "socket_keepalive": True,
                "health_check_interval": 25,
                "max_connections": 50,
                "client_name": "crm",
                "priority_steps": [0, 3, 6, 9],
                # A message that a dying worker took is rung again by the scheduler within seconds; keeping a second
                # book of unacknowledged messages would cost two round trips per job.
                "ack_emulation": False,
            },
            # The ledger redelivers, so the broker need not: take one job per free slot, acknowledge it at once.
            "task_acks_late": False,
            "worker_disable_prefetch": True,
            "task_queues": [BrokerQueue(queue) for queue in Queue],
        }
    return {
        "broker_transport_options": {"confirm_publish": True},
        "task_acks_late": True,
        "task_default_queue_type": "quorum",
        "task_default_exchange_type": "topic",
        "task_queues": [
            BrokerQueue(
                queue,
                Exchange("crm", type="topic"),
                routing_key=queue,
                queue_arguments={"x-queue-type": "quorum"},
            )
            for queue in Queue
        ],
    }


def _hard_limit() -> float:
    """Return when a prefork child is killed: the ledger has taken its job back ten seconds before."""
    prefork = [settings().queues[queue].time_limit for queue, policy in POLICIES.items() if policy.pool == "prefork"]
    return max(prefork) + 10


app = CRMCelery("crm_tasks")
app.conf.update(
    broker_url=settings().broker_url,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_retry=True,
    result_backend="crm_tasks.core.results:LedgerBackend",
    task_ignore_result=True,
    task_default_queue=Queue.MESSAGES,
    task_create_missing_queues=False,
    task_routes={f"{queue}.*": {"queue": queue} for queue in Queue},
    task_serializer="json",
    accept_content=["json"],
    task_time_limit=_hard_limit(),
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    worker_consumer="crm_tasks.core.worker:Consumer",
    # A job that runs goes on while the broker is away: it needs only Postgres.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_max_tasks_per_child=1000,
    worker_max_memory_per_child=400_000,
    beat_scheduler="crm_tasks.core.scheduler:LedgerScheduler",
    # Named, not imported, as are task and worker classes: Flower needs neither the ledger nor a database.
    crm_schedule="crm_tasks.schedule:ENTRIES",
    beat_max_loop_interval=1,
    timezone="UTC",
    enable_utc=True,
    include=[*(f"crm_tasks.{room}.tasks" for room in ROOMS), *MORE_TASKS],
    **_broker(),
)
app.set_default()


@signals.setup_logging.connect
def _log_as_json(**_: Any) -> None:
    log.configure()
