"""Bare Celery on our broker: the peer of the ledger. `celery -A benchmarks.bare worker …`."""

import os

from celery import Celery

app = Celery("bare", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    task_default_queue="bare",
    broker_transport_options={"global_keyprefix": "bare:"},
    worker_hijack_root_logger=False,
)


@app.task(name="bare.noop")
def noop(number: int) -> None:
    """Do nothing."""
