"""`crm ring`."""

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.core import sweep
from crm_tasks.core.queues import Queue


@click.command()
def command() -> None:
    """Ring everything that is due and was not heard, as the scheduler would: for when none runs."""
    lost = sum(sweep.ring_lost(queue) for queue in Queue)
    for queue in Queue:
        while sweep.ring_due(queue, at_once=sweep.RUNG_AT_ONCE):
            pass
    click.echo(f"All that is due has been rung; {lost} rings had been lost.")
