"""Storing webhook requests: durable before they are acknowledged, many in one transaction, one job for all of them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from crm_tasks.config import settings
from crm_tasks.core import db, metrics
from crm_tasks.core.groupcommit import GroupCommit
from crm_tasks.core.jobs.enqueue import NewJob, enqueue_with
from crm_tasks.core.types import new_id
from crm_tasks.providers import registry

AT_MOST = 100
# signed_by comes as one text per event, as arrays of arrays must be rectangular.
_STORED = """stored AS (
    INSERT INTO inbound_events (id, provider, body, signed_by)
    SELECT id, provider, body, string_to_array(signed_by, ',')
    FROM unnest(%(ids)b::uuid[], %(providers)b::text[], %(bodies)b::bytea[], %(signers)b::text[])
         AS given(id, provider, body, signed_by)
)"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A webhook request to be kept."""

    provider: str
    body: bytes
    signed_by: Sequence[str]
    id: uuid.UUID = field(default_factory=new_id)


def store(provider: str, body: bytes, signed_by: Sequence[str]) -> uuid.UUID:
    """Keep a webhook request and have it processed; returns once both are committed.

    Raises:
        Unavailable: Postgres did not take it in time. The provider sends it again.
    """
    arrived = Arrived(provider, body, signed_by)
    _committer(task_of(provider)).put(arrived)
    metrics.count("webhook_events")
    return arrived.id


def task_of(provider: str) -> str:
    """Return the task that applies what a provider sends."""
    known = registry.PROVIDERS.get(provider)
    return f"{known.task.partition('.')[0]}.receive" if known else "messages.receive"


def _commit(events: Sequence[Arrived]) -> None:
    values = {
        "ids": [event.id for event in events],
        "providers": [event.provider for event in events],
        "bodies": [event.body for event in events],
        "signers": [",".join(event.signed_by) for event in events],
    }
    task = task_of(events[0].provider)
    job = NewJob(task=task, args={"event_ids": [event.id for event in events]}, priority=1)
    with db.autocommit() as connection:
        enqueue_with(connection, _STORED, values, job)


_made: dict[str, GroupCommit[Arrived]] = {}


def _committer(task: str) -> GroupCommit[Arrived]:
    """Return the committer of a task: what is committed together is one job."""
    if task not in _made:
        config = settings()
        made: GroupCommit[Arrived] = GroupCommit(
            _commit, name=f"ingest-{task}", at_most=AT_MOST, room=config.ingest_queue, timeout=config.ingest_timeout
        )
        _made.setdefault(task, made)
    return _made[task]
