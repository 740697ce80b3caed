"""The ledger's tasks of the benchmarks; a worker gets them with `-I benchmarks.tasks`."""

import time

from crm_tasks.celery import app


@app.task(name="messages.noop")
def noop(number: int) -> None:
    """Do nothing."""


@app.task(name="messages.wait")
def wait(seconds: float) -> None:
    """Take as long as a request to a provider."""
    time.sleep(seconds)
