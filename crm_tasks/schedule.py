"""Recurring work, one line each. Each fires once per instant however many schedulers run (core/calendar.py)."""

from crm_tasks.core.calendar import Entry

ENTRIES = (
    Entry(name="clean-up", task="analytics.clean_up", cron="0 3 * * *"),
    Entry(name="campaigns", task="campaigns.supervise_all", cron="* * * * *"),
    Entry(name="templates", task="messages.sync_all_templates", cron="30 4 * * *"),
)
