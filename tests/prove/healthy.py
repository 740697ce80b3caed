"""A conversation as it is when all went well, made by the real tasks: asked, answered, sent, delivered, counted."""

import time
import uuid
from datetime import timedelta
from typing import Any

import orjson
import sqlalchemy as sa

import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
from crm_tasks.core import db, rollup
from crm_tasks.core import task as base
from crm_tasks.core.jobs import registry
from crm_tasks.core.jobs.claim import claim
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.pace import shared
from crm_tasks.core.redis import manager
from crm_tasks.messages.models import Direction, Message
from crm_tasks.webhooks.service import endpoints
from crm_tasks.workspaces import service
from crm_tasks.workspaces.models import Workspace
from tests import payloads
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.messages.apply import one
from tests.outside import Sandbox

# Everything is older than this: nothing is excused as under way, and the roll-ups have counted it.
AGO = timedelta(minutes=10)
_WHEN = {
    "jobs": ("run_at", "created_at", "started_at", "finished_at"),
    "messages": ("created_at", "occurred_at", "accepted_at"),
    "inbound_events": ("received_at",),
    "status_events": ("created_at",),
    "webhook_endpoints": ("wants_since",),
    "webhook_events": ("created_at",),
    "webhook_deliveries": ("created_at",),
}


def conversation(sandbox: Sandbox, receiver_url: str) -> Demo:
    """Let a customer ask, and the assistant answer, ten minutes ago; a system of the business is told all of it."""
    sandbox.quiet()
    demo = make_demo(base_url=sandbox.url)
    open_account()
    new = endpoints.NewEndpoint(url=receiver_url, events=["*"], rate=endpoints.MAX_RATE)
    with db.transaction() as session:
        endpoints.add(session, demo.workspace_id, new, actor="a test")
        session.execute(sa.text("UPDATE webhook_endpoints SET wants_since = wants_since - interval '1 day'"))
        service.set_auto_reply(session, session.get_one(Workspace, demo.workspace_id), on=True)
        session.execute(sa.text("UPDATE workspaces SET auto_reply_since = auto_reply_since - interval '1 day'"))
    _webhook(demo, messages=[payloads.text("Where is my order?", at=int(time.time()))])
    answer = one(Message, Message.direction == Direction.OUT)
    for name in ("sent", "delivered"):
        _webhook(demo, statuses=[payloads.status(answer.provider_id, name)])
    for table, columns in _WHEN.items():
        execute(f"UPDATE {table} SET {', '.join(f'{each} = {each} - :ago' for each in columns)}", ago=AGO)
    execute("UPDATE conversations SET last_inbound_at = last_inbound_at - :ago", ago=AGO)
    while db.retrying(rollup.roll_up):
        continue
    return demo


def open_account() -> None:
    """Have Valkey say that nothing was ever started: after it was emptied, the first start waits for two seconds."""
    client = manager().client()
    client.hset(shared._account(), "since", (client.time()[0] - 60) * 1_000_000)  # type: ignore[index, call-overload]


def _webhook(demo: Demo, **told: Any) -> None:
    from crm_tasks.core import crypto
    from crm_tasks.messages.service import ingest

    body = payloads.raw(payloads.told(demo, **told))
    ingest.store("whatsapp", body, [crypto.secret_fingerprint(demo.app_secret)])
    work_off()


def work_off() -> None:
    """Run jobs in this process, as a worker would, until none is due."""
    while waiting := _due():
        for job_id, queue in waiting:
            taken = claim(job_id, queue=queue, worker="the test")
            assert taken is not None
            base._run(registry.task_named(taken.task), taken, _Still())


def _due() -> list[tuple[uuid.UUID, str]]:
    query = sa.select(Job.id, Job.queue).where(Job.state == JobState.QUEUED, Job.run_at <= db.now()).order_by(Job.id)
    with db.transaction() as session:
        return [(job_id, queue) for job_id, queue in session.execute(query)]


class _Still:
    """The pulse of a worker that nobody waits for."""

    def track(self, _claim: Any) -> None:
        """Renew nothing."""

    untrack = track


def ring_of(job_id: str) -> bytes:
    """Return a message as it lies at the broker."""
    return orjson.dumps({"headers": {"id": job_id}})
