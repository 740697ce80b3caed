"""Doors of the queue `analytics`."""

from crm_tasks.analytics import service
from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.task import progress


@app.task(name="analytics.clean_up")
def clean_up() -> dict[str, int]:
    """Remove what is older than its retention, 5,000 rows at a time."""
    removed: dict[str, int] = {}
    chores = service.chores()
    for position, (name, chore) in enumerate(chores.items()):
        progress(position, len(chores), name)
        while count := db.retrying(chore):
            removed[name] = removed.get(name, 0) + count
    return removed
