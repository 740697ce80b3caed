"""Broadcasts: messages per second from start to the last answer at a provider that takes 50 ms, and what they cost.

Ours: one worker of campaigns as `make run` starts it and a scheduler, with history, last look, pace, breaker and
guards. The peers are those of `sends`: BullMQ with 200 concurrent jobs, which keeps the job and no more.
"""

import time
from dataclasses import dataclass

import psutil

from benchmarks import lab, measure
from benchmarks.sends import cpu_of_stores, taken
from tests import harness
from tests.fixtures import make_demo

TEMPLATE = {"name": "hello_world", "language": {"code": "en_US"}}
THREADS = 20


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One run. CPU seconds per 1,000 messages: of the worker alone, and with the stores; memory in MB at its peak."""

    per_second: float
    cpu_s_per_1000: float
    all_cpu_s_per_1000: float
    planned_per_second: float
    peak_mb: float
    accepted: int
    doubled: int


def ours(recipients: int) -> Broadcast:
    """Measure a broadcast to so many people; its plan is made before."""
    lab.clean()
    (port,) = harness.free_ports(1)
    demo = make_demo(base_url=f"http://127.0.0.1:{port}")
    people(demo.workspace_id, recipients)
    provider = harness.Program("provider", ["benchmarks.provider", str(port)], lab.HOME)
    worker = harness.worker(lab.HOME, "campaigns", name="campaigns", concurrency=THREADS)
    with lab.programs((provider, ""), (harness.beat(lab.HOME), ""), (worker, "")):
        measure.until(lambda: lab.scalar("SELECT count(*) FROM processes WHERE kind = 'worker'") >= 1, 60)
        campaign_id, planned = plan(demo, recipients)
        stores, before = cpu_of_stores(), measure.cpu_seconds(worker.pid)
        start(demo.workspace_id, campaign_id)
        peak = 0.0
        while lab.scalar("SELECT count(*) FROM campaigns WHERE state = 'finished'") == 0:
            peak = max(peak, psutil.Process(worker.pid).memory_info().rss / 2**20)
            time.sleep(0.25)
        cpu = measure.cpu_seconds(worker.pid) - before
        accepted = int(lab.scalar("SELECT count(*) FROM messages WHERE state = 'accepted'"))
        span = lab.scalar("SELECT extract(epoch FROM max(accepted_at) - min(occurred_at)) FROM messages")
        return Broadcast(
            recipients / span,
            cpu / recipients * 1000,
            (cpu + cpu_of_stores() - stores) / recipients * 1000,
            planned,
            peak,
            accepted,
            taken(port) - accepted,
        )


def people(workspace_id: object, count: int) -> None:
    """Write down so many people with numbers."""
    import sqlalchemy as sa

    from crm_tasks.core import db

    statement = """
        WITH made AS (
            INSERT INTO contacts (id, workspace_id, name, attributes)
            SELECT uuidv7(), :workspace, 'Person ' || n, jsonb_build_object('city', 'Town ' || n % 100)
            FROM generate_series(1, :count) AS n RETURNING id)
        INSERT INTO identities (id, workspace_id, contact_id, kind, value)
        SELECT uuidv7(), :workspace, id, 'phone', '+1555' || lpad((row_number() OVER ())::text, 7, '0') FROM made
    """
    with db.transaction() as session:
        session.execute(sa.text("SET LOCAL statement_timeout = 0"))
        session.execute(sa.text(statement), {"workspace": workspace_id, "count": count})
    with db.autocommit() as connection:
        connection.execute("ANALYZE")


def plan(demo: object, recipients: int, *, per_second: float = 100_000) -> tuple[object, float]:
    """Make a campaign to everybody and have it planned; returns it, and recipients planned per second."""
    import sqlalchemy as sa

    import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
    from crm_tasks.campaigns.service import drafting, planning
    from crm_tasks.core import db
    from crm_tasks.workspaces.models import Channel

    with db.transaction() as session:
        # What is measured is the sending and not its limit, which is asked all the same.
        session.execute(sa.update(Channel).values(settings={"per_second": per_second}))
        new = drafting.NewCampaign(
            name="bench",
            channel_id=demo.channel_id,  # type: ignore[attr-defined]
            message={"type": "template", "template": TEMPLATE},
            audience={"all": True},
            guards={"canary_share": 0},
        )
        campaign_id = drafting.create(session, demo.workspace_id, new, actor="bench").id  # type: ignore[attr-defined]
    begun = time.monotonic()
    while db.retrying(planning.plan_on, campaign_id):
        pass
    return campaign_id, recipients / (time.monotonic() - begun)


def start(workspace_id: object, campaign_id: object) -> None:
    """Start a campaign."""
    from crm_tasks.campaigns.service import lifecycle
    from crm_tasks.core import db

    with db.transaction() as session:
        lifecycle.start(session, workspace_id, campaign_id, actor="bench")  # type: ignore[arg-type]
