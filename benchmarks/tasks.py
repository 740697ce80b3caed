"""The ledger's task of the benchmarks; a worker gets it with `-I benchmarks.tasks`."""

from crm_tasks.celery import app


@app.task(name="messages.noop")
def noop(number: int) -> None:
    """Do nothing."""
