"""For machines: `/live` (the process runs), `/health` (it can accept work), `/metrics` (Prometheus)."""

import os
import time
from typing import Any

from flask import Blueprint, Flask, Response, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, metrics, migrate, overview
from crm_tasks.core.jobs.model import Process
from crm_tasks.core.redis import manager
from crm_tasks.workspaces import credentials

blueprint = Blueprint("health", __name__)
_started = time.time()
# A scheduler that has not ticked for so long is not there: what is due waits.
SCHEDULER_LATE = 15.0


def register(app: Flask) -> None:
    """Add the doors for machines."""
    app.register_blueprint(blueprint)


@blueprint.get("/live")
def live() -> ResponseReturnValue:
    """Say that this process runs; asks nobody else."""
    return jsonify(status="ok", pid=os.getpid())


@blueprint.get("/health")
def health() -> ResponseReturnValue:
    """Say whether work is accepted: 200 `ok` or `degraded`, 503 without Postgres or its tables."""
    found: dict[str, Any] = {
        "status": "ok",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "uptime": round(time.time() - _started, 1),
        "environment": settings().env,
        "redis": {"connected": manager().ping()},
        "postgres": {"connected": False},
    }
    try:
        with db.transaction() as session:
            found |= _depth(session)
    except Exception as error:  # noqa: BLE001  whatever it is, this door must answer
        found["status"] = "unavailable"
        found["postgres"]["problem"] = type(getattr(error, "orig", None) or error).__name__
        return jsonify(found), 503
    if found["postgres"]["schema"] != migrate.head():
        found["status"] = "unavailable"
        found["postgres"]["problem"] = "the tables are not of this version; run `crm migrate`"
        return jsonify(found), 503
    if not found["redis"]["connected"] or found["scheduler"]["late"]:
        found["status"] = "degraded"
    return jsonify(found)


def _depth(session: Session) -> dict[str, Any]:
    version = migrate.version(session)
    if version != migrate.head():
        return {"postgres": {"connected": True, "schema": version}}
    age = overview.scheduler_age(session)
    return {
        "postgres": {"connected": True, "schema": version},
        "scheduler": {"age": age, "late": age is None or age > SCHEDULER_LATE},
        "queues": {
            row.name: {"waiting": row.waiting, "active": row.active, "failed": row.failed, "delayed": row.delayed}
            for row in overview.queues(session)
        },
        "unknown_tasks": overview.unknown_tasks(session),
    }


@blueprint.get("/metrics")
def prometheus() -> ResponseReturnValue:
    """Give the figures of the whole system, from the ledger and every process's counters, to Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Ledger())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Ledger(Collector):
    """Asked once per scrape."""

    def collect(self) -> Any:
        """Yield the metric families."""
        with db.transaction() as session:
            yield from _gauges(session)
            yield from _counters(session)


def _gauges(session: Session) -> Any:
    jobs = GaugeMetricFamily("crm_jobs", "Jobs by queue and state", labels=["queue", "state"])
    oldest = GaugeMetricFamily("crm_oldest_waiting_seconds", "Age of the oldest waiting job", labels=["queue"])
    done = CounterMetricFamily("crm_jobs_completed", "Jobs that succeeded", labels=["queue"])
    for row in overview.queues(session):
        for state in ("waiting", "delayed", "held", "active", "failed"):
            jobs.add_metric([row.name, state], getattr(row, state))
        oldest.add_metric([row.name], row.oldest_age or 0.0)
        done.add_metric([row.name], row.completed)
    yield from (jobs, oldest, done)
    age = overview.scheduler_age(session)
    yield GaugeMetricFamily(
        "crm_scheduler_age_seconds", "Since any scheduler's last tick", value=-1 if age is None else age
    )
    kept = credentials.age()
    yield GaugeMetricFamily(
        "crm_credentials_file_age_seconds",
        "Since CRM_HOME/credentials.cache was last compared with Postgres; -1 if it is not on this host",
        value=-1 if kept is None else kept,
    )
    live = GaugeMetricFamily("crm_processes", "Live processes by kind", labels=["kind"])
    kinds = [process.kind for process in overview.processes(session)]
    for kind in sorted(set(kinds)):
        live.add_metric([kind], kinds.count(kind))
    yield live


def _counters(session: Session) -> Any:
    rows: list[Process] = overview.with_counters(session)
    for name, text in metrics.COUNTERS.items():
        family = CounterMetricFamily(f"crm_{name}", text, labels=["process"])
        for row in rows:
            if name in row.counters:
                family.add_metric([row.name], row.counters[name])
        yield family
