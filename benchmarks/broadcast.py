"""Broadcasts: messages per second from start to the last answer, and what they cost.

Ours: a worker of campaigns for each core and a scheduler, with history, last look, pace, breaker and guards; alone
beside a provider that takes 50 ms, and then beside the sandbox, whose statuses come back as signed webhooks
through the web app and a worker of messages. The peers are those of `sends`: BullMQ with 200 concurrent jobs, which
keeps the job and no more, and a bare loop.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import requests

from benchmarks import lab, measure
from benchmarks.sends import cpu_of_stores, taken
from tests import harness
from tests.fixtures import NUMBER, Demo, make_demo
from tests.harness import Program
from tests.outside import Sandbox

TEMPLATE = {"name": "hello_world", "language": {"code": "en_US"}}
# What a STOP is about.
MARKETING = {
    "name": "spring_sale",
    "language": {"code": "en_US"},
    "components": [
        {"type": "header", "parameters": [{"type": "text", "text": "{{name|friend}}"}]},
        {"type": "body", "parameters": [{"type": "text", "text": "20 %"}]},
    ],
}
RECIPIENTS, THREADS = 20_000, 20
# A process has one interpreter: one for each core that the targets are for, as docs/scaling.md says.
WORKERS = 2
# As Meta may: up to so many statuses in one webhook (it documents 1,000), which waits for them so long.
BATCH, BATCH_WAIT_MS = 100, 200
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One run. CPU seconds per 1,000 messages: of our processes, with the stores, of the sandbox; memory at its peak
    in MB, of a worker of campaigns and of all our processes.

    Counts: how many we say were accepted, more or fewer that the provider took, sent twice, all recipients by their
    states, and those whose last status is there. Seconds: from the start until the last status was applied.
    """

    per_second: float
    cpu_s_per_1000: float
    all_cpu_s_per_1000: float
    planned_per_second: float
    planned_ratio: float
    peak_mb: float
    all_peak_mb: float
    accepted: int
    off: int
    doubled: int
    balance: int
    delivered: int = 0
    statuses_s: float = 0.0
    statuses_behind_s: float = 0.0
    webhooks: int = 0
    sandbox_cpu_s_per_1000: float = 0.0

    def wrong(self, recipients: int, *, statuses: bool) -> list[str]:
        """Return what does not add up."""
        found = {
            "recipients by their states": (self.balance, recipients),
            "accepted": (self.accepted, recipients),
            "taken by the provider beside that": (self.off, 0),
            "sent twice": (self.doubled, 0),
            **({"delivered or read": (self.delivered, recipients)} if statuses else {}),
        }
        return [f"{what}: {got:,} and not {wanted:,}" for what, (got, wanted) in found.items() if got != wanted]


@dataclass(frozen=True, slots=True)
class _Spent:
    """What a campaign took until a condition held."""

    cpu: float
    stores: float
    sandbox: float
    peak_mb: float
    all_peak_mb: float


def ours(recipients: int) -> Broadcast:
    """Measure a broadcast to so many people beside a provider that takes 50 ms; its plan is made before."""
    lab.clean()
    (port,) = harness.free_ports(1)
    demo = make_demo(base_url=f"http://127.0.0.1:{port}")
    people(demo.workspace_id, recipients)
    provider = Program("provider", ["benchmarks.provider", str(port)], lab.HOME)
    programs = (*_campaigns(), harness.beat(lab.HOME))
    with lab.programs((provider, ""), *((program, "") for program in programs)):
        measure.until(lambda: lab.scalar("SELECT count(*) FROM processes WHERE kind = 'worker'") >= WORKERS, 60)
        planned, ratio, spent = _run(demo, recipients, programs, None, _is_finished)
        accepted = _accepted()
        # The stub gives each request an id of its own: more than are ours is somebody twice.
        doubled = max(0, taken(port) - accepted)
        return _broadcast(recipients, planned, ratio, spent, accepted, taken(port) - accepted, doubled)


def with_sandbox(recipients: int, *, read: bool = False) -> Broadcast:
    """Measure the same beside the sandbox, with all that statuses need; they say up to `delivered`, or up to `read`."""
    lab.clean()
    demo = make_demo(base_url=f"http://127.0.0.1:{lab.SANDBOX_PORT}")
    people(demo.workspace_id, recipients)
    hook = f"http://127.0.0.1:{lab.WEB_PORT}/webhooks/whatsapp"
    outside = Sandbox(harness.sandbox(lab.HOME, lab.SANDBOX_PORT, hook, NUMBER), lab.SANDBOX_PORT)
    web = harness.web(lab.HOME, lab.WEB_PORT, WEB_WORKERS=str(lab.WEB_PROCESSES), WEB_THREADS="32")
    programs = (*_campaigns(), _worker("messages"), web, harness.beat(lab.HOME))
    last = "read" if read else "delivered"
    with lab.programs((outside.program, ""), *((program, "") for program in programs)):
        measure.until(lambda: lab.scalar("SELECT count(*) FROM processes WHERE kind = 'worker'") > WORKERS, 60)
        measure.until(lambda: _live(f"http://127.0.0.1:{lab.WEB_PORT}/live"), 30)
        measure.until(lambda: _live(f"{outside.url}/_sandbox/health"), 30)
        statuses = {"auto_read": read}
        outside.control("PUT", "limits", {"batch": BATCH, "batch_wait_ms": BATCH_WAIT_MS, "statuses": statuses})

        def over() -> bool:
            there = f"SELECT count(*) FROM messages WHERE state = '{last}' AND accepted_at IS NOT NULL"
            return _is_finished() and lab.scalar(there) == recipients

        planned, ratio, spent = _run(demo, recipients, programs, outside.program, over)
        accepted, stats = _accepted(), outside.control("GET", "stats")
        off = stats["accepted"] - stats["duplicates"] - accepted
        return _broadcast(recipients, planned, ratio, spent, accepted, off, stats["duplicates"])


def _campaigns() -> list[Program]:
    return [_worker("campaigns", f"campaigns{number}") for number in range(WORKERS)]


def _worker(queue: str, name: str = "") -> Program:
    return harness.worker(lab.HOME, queue, name=name or queue, concurrency=THREADS)


def _live(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url, timeout=1).ok
    return False


def _is_finished() -> bool:
    return lab.scalar("SELECT count(*) FROM campaigns WHERE state = 'finished'") == 1


def _accepted() -> int:
    return int(lab.scalar("SELECT count(*) FROM messages WHERE accepted_at IS NOT NULL AND provider_id IS NOT NULL"))


def _run(
    demo: Demo, recipients: int, programs: Sequence[Program], sandbox: Program | None, over: Callable[[], bool]
) -> tuple[float, float, _Spent]:
    """Plan a campaign, start it and wait until it is over; the first of the programs is a worker of campaigns.

    What is not over in time is told by the counts.
    """
    campaign_id, planned = plan(demo, recipients)
    ratio = planned / _bare_plan(demo, recipients)
    stores, before = cpu_of_stores(), [measure.cpu_seconds(program.pid) for program in programs]
    outside = measure.cpu_seconds(sandbox.pid) if sandbox else 0.0
    start(demo.workspace_id, campaign_id)
    peak = all_peak = 0.0
    deadline = time.monotonic() + _PATIENCE
    while not over() and time.monotonic() < deadline:
        sizes = [sum(_rss_mb(process) for process in measure.family(program.pid)) for program in programs]
        peak, all_peak = max(peak, sizes[0]), max(all_peak, sum(sizes))
        time.sleep(0.4)
    cpu = sum(measure.cpu_seconds(program.pid) for program in programs) - sum(before)
    outside = measure.cpu_seconds(sandbox.pid) - outside if sandbox else 0.0
    return planned, ratio, _Spent(cpu, cpu_of_stores() - stores, outside, peak, all_peak)


def _rss_mb(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(process.memory_info().rss) / 2**20
    return 0.0


def _broadcast(
    recipients: int, planned: float, ratio: float, spent: _Spent, accepted: int, off: int, doubled: int
) -> Broadcast:
    since = "SELECT extract(epoch FROM {} - (SELECT min(started_at) FROM campaigns))"
    span = lab.scalar(since.format("max(accepted_at)") + " FROM messages")
    until = lab.scalar(since.format("max(created_at)") + " FROM status_events WHERE status <> 'accepted'")
    thousands = recipients / 1000
    return Broadcast(
        per_second=recipients / span,
        cpu_s_per_1000=spent.cpu / thousands,
        all_cpu_s_per_1000=(spent.cpu + spent.stores) / thousands,
        planned_per_second=planned,
        planned_ratio=ratio,
        peak_mb=spent.peak_mb,
        all_peak_mb=spent.all_peak_mb,
        accepted=accepted,
        off=off,
        doubled=doubled,
        balance=_balance(),
        delivered=int(lab.scalar("SELECT count(*) FROM messages WHERE state IN ('delivered', 'read')")),
        statuses_s=until,
        statuses_behind_s=max(0.0, until - span),
        webhooks=int(lab.scalar("SELECT count(*) FROM inbound_events")),
        sandbox_cpu_s_per_1000=spent.sandbox / thousands,
    )


def _balance() -> int:
    """Return how many recipients the campaign's figures add up to."""
    from crm_tasks.campaigns.models import Campaign
    from crm_tasks.campaigns.service import progress
    from crm_tasks.core import db

    with db.transaction() as session:
        (campaign,) = session.query(Campaign).all()
        return sum(progress.count(session, campaign).states.values())


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


def plan(
    demo: Any, recipients: int, *, per_second: float = 100_000, template: dict[str, Any] = TEMPLATE
) -> tuple[object, float]:
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
            channel_id=demo.channel_id,
            message={"type": "template", "template": template},
            audience={"all": True},
            guards={"canary_share": 0},
        )
        campaign_id = drafting.create(session, demo.workspace_id, new, actor="bench").id
    begun = time.monotonic()
    while db.retrying(planning.plan_on, campaign_id):
        pass
    return campaign_id, recipients / (time.monotonic() - begun)


def _bare_plan(demo: Demo, recipients: int) -> float:
    """Return how many rows per second one bare INSERT … SELECT writes into a table with a unique key and no more."""
    from crm_tasks.core import db

    with db.autocommit() as connection:
        connection.execute("DROP TABLE IF EXISTS bare_recipients")
        connection.execute(
            "CREATE TABLE bare_recipients (LIKE recipients INCLUDING DEFAULTS, PRIMARY KEY (campaign_id, contact_id))"
        )
        begun = time.monotonic()
        connection.execute(
            "INSERT INTO bare_recipients (campaign_id, contact_id, workspace_id, position) "
            "SELECT %(id)s, id, workspace_id, row_number() OVER (ORDER BY id) FROM contacts "
            "WHERE workspace_id = %(id)s",
            {"id": demo.workspace_id},
        )
        seconds = time.monotonic() - begun
        connection.execute("DROP TABLE bare_recipients")
    return recipients / seconds


def start(workspace_id: object, campaign_id: object) -> None:
    """Start a campaign."""
    from crm_tasks.campaigns.service import lifecycle
    from crm_tasks.core import db

    with db.transaction() as session:
        lifecycle.start(session, workspace_id, campaign_id, actor="bench")  # type: ignore[arg-type]
