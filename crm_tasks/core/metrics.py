"""Counters of this process: in memory, carried to Postgres by its heartbeat, summed up by `/metrics`.

So a counter of a worker on another host is seen too, and no directory of shared files is needed.
"""

import os
import threading
from collections import Counter

# Every counter there is. Prometheus shows it as `crm_<name>_total`.
COUNTERS = {
    "webhook_events": "Webhook requests stored",
    "webhook_rejected": "Webhook requests refused for a bad signature",
    "webhook_unavailable": "Webhook requests answered 503",
    "enqueued": "Jobs enqueued",
    "rings": "Celery messages published",
    "rings_failed": "Celery messages that could not be published; the scheduler rings again",
    "rings_dropped": "Rings left to the scheduler because the buffer was full",
    "rings_left": "Rings left to the scheduler because others of their queue wait",
    "rings_empty": "Celery messages that found nothing to claim",
    "rings_foreign": "Celery messages without a row in the ledger: never run",
    "rings_lost": "Rings that had vanished from the broker and were rung again",
    "unknown_tasks": "Celery messages for a task that this worker does not know",
    "jobs_succeeded": "Jobs that succeeded",
    "jobs_retried": "Attempts that failed and will be retried",
    "jobs_dead": "Jobs that died",
    "jobs_snoozed": "Jobs put off without using an attempt",
    "outcomes_fenced": "Outcomes that came after the claim was lost",
    "leases_expired": "Leases of dead workers taken back",
    "lease_renewals_failed": "Lease renewals that did not reach Postgres",
    "db_retries": "Transient database errors that were retried",
    "db_slow_queries": "Statements over the slow query threshold",
    "db_pool_high": "Checkouts with the pool nearly used up",
    "cache_hits": "Cache look-ups answered by Redis",
    "cache_misses": "Cache look-ups that went to the loader",
    "cache_errors": "Cache operations given up because Redis did not answer",
    "credentials_hits": "Look-ups of a channel's credentials answered from memory",
    "credentials_misses": "Look-ups of a channel's credentials that read Postgres",
    "pace_alone": "Starts granted by a process on its own while Redis was away",
    "pace_slowed": "Halvings of a bucket's rate after a provider's refusal",
    "breaker_opened": "Times that a circuit breaker opened",
    "http_retries": "Provider requests tried again because they had not left",
    "sends_accepted": "Messages accepted by a provider",
    "sends_refused": "Messages refused by a provider",
    "sends_unknown": "Sends that ended without a clear answer",
    "cleaned_rows": "Rows that the nightly clean-up removed",
    "sends_suppressed": "Messages that a rule of the last look has ended",
    "deliveries_done": "Outgoing webhooks that their endpoint took",
    "deliveries_failed": "Requests of outgoing webhooks that failed",
}

_counts: Counter[str] = Counter()
_lock = threading.Lock()


def count(name: str, by: int = 1) -> None:
    """Raise a counter of this process."""
    if name not in COUNTERS:
        raise KeyError(f"No counter {name!r}: add it to core/metrics.py")
    with _lock:
        _counts[name] += by


def snapshot() -> dict[str, int]:
    """Return this process's counters since it started."""
    with _lock:
        return dict(_counts)


def _after_fork() -> None:
    """A child counts for itself, from nothing, with a lock that no lost thread holds."""
    global _lock
    _lock = threading.Lock()
    _counts.clear()


os.register_at_fork(after_in_child=_after_fork)
