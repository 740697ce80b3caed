"""Endpoints, events and deliveries as tests make and read them; jobs are run in this process."""

import uuid
from contextlib import suppress
from typing import Any

from celery.exceptions import Ignore, Retry

import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
from crm_tasks.core import db
from crm_tasks.core import task as base
from crm_tasks.core.jobs import registry
from crm_tasks.core.jobs.claim import claim
from crm_tasks.core.jobs.model import Job
from crm_tasks.webhooks.models import Attempt, Delivery, Endpoint
from crm_tasks.webhooks.service import endpoints
from crm_tasks.webhooks.service.publishing import publish
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.apply import one, rows
from tests.prove.healthy import _due, _Still, open_account

NEWS = {"text": "hello"}


def work_off() -> None:
    """Run jobs in this process, as a worker would, until none is due; failures are in the ledger."""
    while waiting := _due():
        for job_id, queue in waiting:
            run_one(job_id, queue)


def run_one(job_id: uuid.UUID, queue: str) -> None:
    """Run a job in this process, if it may be."""
    if (taken := claim(job_id, queue=queue, worker="the test")) is not None:
        with suppress(Ignore, Retry, base.DeadJob):
            base._run(registry.task_named(taken.task), taken, _Still())  # type: ignore[arg-type]


def add(demo: Demo, url: str, *events: str, **more: Any) -> Endpoint:
    """Add an endpoint that wants these types, or everything."""
    new = endpoints.NewEndpoint(url=url, events=list(events or ("*",)), **more)
    with db.transaction() as session:
        made = endpoints.add(session, demo.workspace_id, new, actor="a test")
    open_account()
    return made


def tell(demo: Demo, type: str = "message.received", data: Any = None) -> uuid.UUID | None:
    """Publish something in a transaction of its own."""
    with db.transaction() as session:
        return publish(session, demo.workspace_id, type, NEWS if data is None else data)


def tell_and_deliver(demo: Demo, *types: str) -> None:
    """Publish something and run what is due."""
    for type in types or ("message.received",):
        tell(demo, type)
    work_off()


def endpoint(endpoint_id: uuid.UUID) -> Endpoint:
    """Return an endpoint as it is now."""
    return one(Endpoint, Endpoint.id == endpoint_id)


def delivery() -> Delivery:
    """Return the only delivery."""
    return one(Delivery)


def states(endpoint_id: uuid.UUID | None = None) -> list[str]:
    """Return the states of deliveries, the oldest first."""
    condition = [Delivery.endpoint_id == endpoint_id] if endpoint_id else []
    return [str(each.state) for each in rows(Delivery, *condition)]


def attempts() -> list[Attempt]:
    """Return every attempt, the oldest first."""
    return rows(Attempt)


def job_of(found: Delivery) -> Job:
    """Return the job of a delivery."""
    return one(Job, Job.id == found.job_id)


def jobs() -> list[Job]:
    """Return the jobs of all deliveries, the oldest first."""
    return rows(Job, Job.task == "webhooks.deliver")


def bring_forward() -> None:
    """Make everything due that waits, and let no endpoint rest."""
    execute("UPDATE jobs SET run_at = crm_now() WHERE state = 'queued'")
    execute("UPDATE webhook_endpoints SET rests_until = NULL")


def try_again() -> None:
    """Run what is due, brought forward."""
    bring_forward()
    work_off()
