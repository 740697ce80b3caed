"""The Celery app whose schedulers have entries for two nights: `celery -A tests.core.timetable`."""

import os

from crm_tasks.celery import app
from crm_tasks.core.calendar import Entry
from tests import tasks  # noqa: F401  what the entries name

_LOG = os.environ.get("TIMETABLE_LOG", "/dev/null")


def _entry(name: str, cron: str, tz: str) -> Entry:
    return Entry(name=name, cron=cron, tz=tz, task="messages.test_note", args={"path": _LOG}, catch_up="all")


ENTRIES = (
    _entry("hourly", "0 * * * *", "Europe/Berlin"),
    _entry("half past two", "30 2 * * *", "Europe/Berlin"),
    _entry("three", "0 3 * * *", "Europe/Berlin"),
)
app.conf.crm_schedule = "tests.core.timetable:ENTRIES"
__all__ = ["ENTRIES", "app"]
