"""The Celery app whose workers wait two seconds for what they run, not thirty: `celery -A tests.core.impatient`."""

from crm_tasks.celery import app
from crm_tasks.core import worker

worker.STOP_GRACE = 2.0
__all__ = ["app"]
