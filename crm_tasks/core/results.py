"""A result backend that reads the ledger: `AsyncResult(id).get()` works, and nothing is stored twice."""

import uuid
from typing import Any

import sqlalchemy as sa
from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TaskRevokedError

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job, JobState

_CELERY_STATE = {
    JobState.QUEUED: states.PENDING,
    JobState.RUNNING: states.STARTED,
    JobState.SUCCEEDED: states.SUCCESS,
    JobState.DEAD: states.FAILURE,
    JobState.CANCELLED: states.REVOKED,
}


class LedgerBackend(BaseBackend):
    """Celery's view of `jobs`. Writing is the base task's business."""

    def __init__(self, *args: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = url

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        try:
            wanted = uuid.UUID(str(task_id))
        except ValueError:
            return {"status": states.PENDING, "result": None}
        with db.transaction() as session:
            query = sa.select(Job.state, Job.result, Job.errors, Job.reason).where(Job.id == wanted)
            row = session.execute(query).first()
        if row is None:
            return {"status": states.PENDING, "result": None}
        result: Any = row.result
        if row.state is JobState.DEAD:
            last = row.errors[-1] if row.errors else {}
            result = RuntimeError(f"{last.get('class', 'dead')}: {last.get('message', '')}")
        elif row.state is JobState.CANCELLED:
            result = TaskRevokedError(row.reason)
        return {
            "status": _CELERY_STATE[JobState(row.state)],
            "result": result,
            "traceback": None,
            "children": [],
        }

    def _store_result(self, task_id: str, result: Any, state: str, *_: Any, **__: Any) -> Any:
        return result

    def as_uri(self, include_password: bool = False) -> str:
        """Name the backend in the worker's banner."""
        return "ledger (Postgres)"
