"""`/api/v1/queues`: health, metrics and statistics in the shapes that monitoring already knows (camelCase)."""

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from crm_tasks.core import overview
from crm_tasks.core.db import transaction
from crm_tasks.core.redis import manager
from webapp.api.reading import Blueprint
from webapp.api.shapes import FiguresOut
from webapp.health import SCHEDULER_LATE

blueprint = Blueprint("queues", __name__, description="Figures of the queues")


class MetricsArgs(ma.Schema):
    """Over how long."""

    minutes = ma.fields.Integer(load_default=15, validate=ma.validate.Range(1, 1440, error="Ask for 1 to 1440."))


class StatisticsArgs(ma.Schema):
    """Over how many days."""

    days = ma.fields.Integer(load_default=7, validate=ma.validate.Range(1, 400, error="Ask for 1 to 400."))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@blueprint.route("/queues/health")
@blueprint.alt_response(200, schema=FiguresOut)
def health() -> dict[str, Any]:
    """Count what waits, runs, finished and failed in each queue."""
    with transaction() as session:
        rows = overview.queues(session)
        age = overview.scheduler_age(session)
    connected = manager().ping()
    names = ("waiting", "active", "completed", "failed", "delayed")
    late = age is None or age > SCHEDULER_LATE
    return {
        "success": True,
        "status": "degraded" if late or not connected else "ok",
        "redis": {"connected": connected},
        "scheduler": {"age": age},
        "queues": [
            {"name": row.name, **{name: getattr(row, name) for name in names}, "isPaused": row.is_paused}
            | {"held": row.held, "oldestAge": row.oldest_age, "targetAge": row.target_age}
            for row in rows
        ],
        "totals": {name: sum(getattr(row, name) for row in rows) for name in names},
        "timestamp": _now(),
    }


@blueprint.route("/queues/metrics")
@blueprint.arguments(MetricsArgs, location="query")
@blueprint.alt_response(200, schema=FiguresOut)
def metrics(args: dict[str, Any]) -> dict[str, Any]:
    """Measure each queue over the last minutes: rate, run and wait times in ms, age of the oldest waiting job in s."""
    with transaction() as session:
        rows = overview.metrics(session, minutes=args["minutes"])
    return {
        "success": True,
        "minutes": args["minutes"],
        "queues": [
            {
                "name": row.name,
                "finished": row.finished,
                "failed": row.failed,
                "perMinute": row.per_minute,
                "run": {"p50": row.run_p50, "p95": row.run_p95},
                "wait": {"p50": row.wait_p50, "p95": row.wait_p95},
                "oldestAge": row.oldest_age,
            }
            for row in rows
        ],
        "timestamp": _now(),
    }


@blueprint.route("/queues/statistics")
@blueprint.arguments(StatisticsArgs, location="query")
@blueprint.alt_response(200, schema=FiguresOut)
def statistics(args: dict[str, Any]) -> dict[str, Any]:
    """Total the jobs that ended, by state, queue and day (UTC)."""
    with transaction() as session:
        days = overview.statistics(session, days=args["days"])
    totals: dict[str, int] = {}
    for day in days:
        for state in ("succeeded", "dead", "cancelled"):
            totals[state] = totals.get(state, 0) + day[state]
    return {"success": True, "days": days, "totals": totals, "timestamp": _now()}
