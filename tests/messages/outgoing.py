"""Messages of ours on their way out: accepting them, waiting for what becomes of them, looking at what was sent."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import outbox
from crm_tasks.workspaces.models import Channel
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import one, rows, wrote

ANN = "+15550001111"
AT_MOST = 60.0


def post(
    demo: Demo,
    body: str = "Hello",
    *,
    to: str = ANN,
    context: str | None = None,
    scheduled_for: datetime | None = None,
) -> uuid.UUID:
    """Accept a text to somebody who has just written."""
    with db.transaction() as session:
        wrote(session, demo, to)
    new = outbox.NewMessage(type="text", content={"body": body}, context_id=context, scheduled_for=scheduled_for)
    return _post(demo, to, new)


def post_template(demo: Demo, template: dict[str, Any], *, to: str = ANN) -> uuid.UUID:
    """Accept a template."""
    return _post(demo, to, outbox.NewMessage(type="template", content=template))


def _post(demo: Demo, to: str, new: outbox.NewMessage) -> uuid.UUID:
    with db.transaction() as session:
        return outbox.send_to(session, demo.workspace_id, demo.channel_id, to, new).id


def message(message_id: uuid.UUID) -> Message:
    """Return a message as it is now."""
    return one(Message, Message.id == message_id)


def until(message_id: uuid.UUID, *states: MessageState) -> Message:
    """Wait for a message to come into one of these states."""
    return eventually(
        lambda: found if (found := message(message_id)).state in states else None,
        f"a message {' or '.join(states)}",
        AT_MOST,
    )


def send_jobs(message_id: uuid.UUID, task: str = "messages.send") -> list[Job]:
    """Return the jobs of a message, the oldest first."""
    return rows(Job, Job.task == task, Job.args["message_id"].astext == str(message_id))


def send_job(message_id: uuid.UUID) -> Job:
    """Return the job that sends a message."""
    (found,) = send_jobs(message_id)
    return found


def job_until(message_id: uuid.UUID, condition: Any, what: str, task: str = "messages.send") -> Job:
    """Wait until the latest job of a message meets a condition."""

    def look() -> Job | None:
        found = send_jobs(message_id, task)
        return found[-1] if found and condition(found[-1]) else None

    return eventually(look, what, AT_MOST)


def wait_left(job: Job) -> float:
    """Return how many seconds before a job is due, counted from its last attempt's end."""
    with db.transaction() as session:
        moment = session.scalar(sa.select(db.now()))
    assert moment is not None
    return (job.run_at - moment).total_seconds()


def point(demo: Demo, url: str, **values: Any) -> None:
    """Point a channel somewhere else."""
    change = sa.update(Channel).where(Channel.id == demo.channel_id).values(base_url=url, **values)
    with db.transaction() as session:
        session.execute(change)


def fault(**rule: Any) -> dict[str, Any]:
    """Return a rule for the sandbox about requests to send a message."""
    return {"kind": "message", **rule}
