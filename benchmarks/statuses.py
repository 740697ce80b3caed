"""What the statuses of messages cost: webhooks of 1, 10 or 100 of them, applied as a worker applies them.

Each message is reported as sent, then as delivered. Six webhooks share a job, as many as the sandbox has under way at
once. Measured in this process and in Postgres, in microseconds of CPU for each status.
"""

import time
from dataclasses import dataclass

from benchmarks import lab
from benchmarks.sends import cpu_of_stores
from tests import payloads
from tests.fixtures import Demo, make_demo

PER_JOB = 6
NAMES = ("sent", "delivered")


@dataclass(frozen=True, slots=True)
class Applied:
    """One run. CPU of this process and of the stores, in µs for each status."""

    per_second: float
    cpu_us: float
    stores_cpu_us: float
    applied: int


def ours(messages: int, per_webhook: int) -> Applied:
    """Measure webhooks of so many statuses."""
    from crm_tasks.core import db
    from crm_tasks.messages.service import receive

    lab.clean()
    demo = make_demo()
    _messages(demo, messages)
    jobs = [
        _job(demo, name, first, per_webhook, messages) for name in NAMES for first in _firsts(messages, per_webhook)
    ]
    stores, cpu, begun = cpu_of_stores(), time.process_time(), time.monotonic()
    for event_ids in jobs:
        db.retrying(receive.receive, event_ids)
    count = messages * len(NAMES)
    seconds, cpu, stores = time.monotonic() - begun, time.process_time() - cpu, cpu_of_stores() - stores
    applied = lab.scalar("SELECT count(*) FROM messages WHERE state = 'delivered' AND sent_at IS NOT NULL")
    return Applied(count / seconds, cpu / count * 1e6, stores / count * 1e6, int(applied))


def _firsts(messages: int, per_webhook: int) -> range:
    return range(0, messages, per_webhook * PER_JOB)


def _job(demo: Demo, name: str, first: int, per_webhook: int, messages: int) -> list:
    """Store the webhooks of one job and return their events; nothing rings, so that nobody else applies them."""
    import sqlalchemy as sa

    from crm_tasks.core import crypto, db
    from crm_tasks.messages.models import InboundEvent

    last = min(first + per_webhook * PER_JOB, messages)
    with db.transaction() as session:
        bodies = [
            payloads.raw(
                payloads.told(
                    demo,
                    contacts=[payloads.contact(f"1555{n:07d}") for n in range(start, min(start + per_webhook, last))],
                    statuses=[_status(n, name) for n in range(start, min(start + per_webhook, last))],
                )
            )
            for start in range(first, last, per_webhook)
        ]
        signers = [crypto.secret_fingerprint(demo.app_secret)]
        rows = [{"provider": "whatsapp", "body": body, "signed_by": signers} for body in bodies]
        return list(session.scalars(sa.insert(InboundEvent).returning(InboundEvent.id), rows))


def _status(number: int, name: str) -> payloads.Json:
    own = f"01900000-0000-7000-8000-{number:012d}"
    pricing = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
    to = f"1555{number:07d}"
    return payloads.status(f"wamid.B{number}", name, to=to, biz_opaque_callback_data=own, pricing=pricing)


def _messages(demo: Demo, count: int) -> None:
    """Write down so many messages that the provider has accepted."""
    import sqlalchemy as sa

    from crm_tasks.core import db

    statement = """
        WITH person AS (
            INSERT INTO contacts (id, workspace_id, name) VALUES (uuidv7(), :workspace, 'Person') RETURNING id),
        talk AS (
            INSERT INTO conversations (id, workspace_id, channel_id, contact_id)
            SELECT uuidv7(), :workspace, :channel, id FROM person RETURNING id, contact_id)
        INSERT INTO messages (id, workspace_id, channel_id, conversation_id, contact_id, direction, state, type,
            content, author, occurred_at, accepted_at, provider_id)
        SELECT ('01900000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, :workspace, :channel, talk.id,
            talk.contact_id, 'out', 'accepted', 'template', '{"name": "hello_world"}', 'api', now(), now(),
            'wamid.B' || n
        FROM talk, generate_series(0, :count - 1) AS n
    """
    with db.transaction() as session:
        values = {"workspace": demo.workspace_id, "channel": demo.channel_id, "count": count}
        session.execute(sa.text(statement), values)
    with db.autocommit() as connection:
        connection.execute("ANALYZE")


if __name__ == "__main__":
    with lab.lab():
        for size in (1, 10, 100):
            print(size, ours(min(6_000, 600 * size), size), flush=True)
