"""Jobs in every state, made without a worker."""

import uuid
from typing import Any

from crm_tasks.core import db
from crm_tasks.core.errors import Permanent
from crm_tasks.core.jobs import claim as claims
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.task import give_back
from tests.core.ledger import FAIL, new, take


def dead(cause: str = "it broke", task: str = FAIL, **options: Any) -> uuid.UUID:
    """Make a job that has died of this cause."""
    job_id = new(task, **options)
    die(job_id, cause)
    return job_id


def die(job_id: uuid.UUID, cause: str = "it broke") -> None:
    """Have a queued job fail for good."""
    assert give_back(take(job_id), Permanent(cause, code="test")) is JobState.DEAD


def succeed(job_id: uuid.UUID) -> None:
    """Have a queued job succeed."""
    taken = take(job_id)
    with db.transaction() as session:
        assert claims.finish(session, taken, {"ok": True})
