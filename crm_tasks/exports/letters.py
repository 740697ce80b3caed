"""Dead letters, as they are exported."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.jobs import dead_letters
from crm_tasks.core.jobs.dead_letters import Which
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.exports.kinds import PAGE, Kind, Order, Page, counted

_COLUMNS = (
    *("id", "task", "queue", "error", "error_code", "message", "fingerprint", "attempts", "revivals", "arguments"),
    *("created_at", "finished_at"),
)


def _which(order: Order) -> Which:
    get = order.filters.get
    return Which(workspace_id=order.workspace_id, fingerprint=get("fingerprint"), task=get("task"), queue=get("queue"))


def _count(session: Session, order: Order) -> int:
    dead = Job.state == sa.literal_column(f"'{JobState.DEAD}'")
    return counted(session, dead, Job.id < order.export_id, *_which(order).conditions(), of=Job)


def _page(session: Session, order: Order, after: Any) -> Page:
    found = dead_letters.listed(session, _which(order), before=after or order.export_id, limit=PAGE)
    return [_row(job) for job in found], found[-1].id if found else None


def _row(job: Job) -> list[Any]:
    error = job.errors[-1] if job.errors else {}
    said = (error.get("class"), error.get("code"), error.get("message"))
    counts = (job.attempt, job.revivals)
    return [job.id, job.task, job.queue, *said, job.fingerprint, *counts, job.args, job.created_at, job.finished_at]


DEAD_LETTERS = Kind(columns=lambda _session, _workspace_id: list(_COLUMNS), count=_count, page=_page)
