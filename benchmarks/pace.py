"""Three times the limit for a minute: four worker processes, a provider that counts what breaks its limits.

    python -m benchmarks.pace                     a second, near and far, a minute, and a second with Valkey away
    python -m benchmarks.pace --seconds 20 second

What counts is what the sandbox counts: violations, and the messages that it accepted, of those that it would have.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import requests
from rich.console import Console
from rich.table import Table

from benchmarks import lab, measure
from tests import harness
from tests.fixtures import NUMBER, make_demo
from tests.outside import Sandbox

console = Console()
WORKERS, THREADS, TIMES = 4, 8, 3
TEMPLATE = {"name": "hello_world", "language": {"code": "en_US"}}


@dataclass(frozen=True, slots=True)
class Case:
    """A limit of the provider's, and what of it our channel is told.

    Seconds: how long Valkey stands still meanwhile, and how long each answer takes.
    """

    name: str
    limits: dict[str, int]
    per_second: float
    away: float = 0.0
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What the provider saw: `used` is the share of what it would have accepted in that time."""

    case: str
    accepted: int
    violations: int
    used: float
    snoozes: float


CASES = {
    "second": Case("20 a second", {"messages_per_second": 20}, 20.0),
    "far": Case("20 a second, answers after 0.2 s", {"messages_per_second": 20}, 20.0, delay=0.2),
    "minute": Case("20 a minute", {"per_minute": 20}, 20 / 60),
    "away": Case("20 a second, Valkey away for all of it", {"messages_per_second": 20}, 20.0, away=60.0),
}


def run(case: Case, seconds: float) -> Found:
    """Send at three times the limit and count."""
    import sqlalchemy as sa

    from crm_tasks.core import db
    from crm_tasks.workspaces.models import Channel

    lab.clean()
    outside = Sandbox(harness.sandbox(lab.HOME, lab.SANDBOX_PORT, "http://127.0.0.1:9/", NUMBER), lab.SANDBOX_PORT)
    demo = make_demo(base_url=outside.url)
    with db.transaction() as session:
        session.execute(sa.update(Channel).values(settings={"per_second": case.per_second}))
    workers = [harness.worker(lab.HOME, "messages", name=f"w{n}", concurrency=THREADS) for n in range(WORKERS)]
    started = [(outside.program, ""), (harness.beat(lab.HOME), "")]
    with lab.programs(*started, *((worker, "") for worker in workers)):
        measure.until(lambda: outside.program.popen and _answers(outside), 30)
        outside.control("PUT", "limits", {**case.limits, "enforce": True})
        outside.faults({"kind": "message", "statuses": "none"}, {"kind": "message", "delay": case.delay})
        alive = "SELECT count(*) FROM processes WHERE kind = 'worker'"
        measure.until(lambda: lab.scalar(alive) >= WORKERS, 60)
        _accept(demo, round(case.per_second * seconds * TIMES), case.per_second * TIMES)
        measure.until(lambda: _accepted(outside) > 0, 300)
        with _without_valkey(case.away):
            time.sleep(seconds)
        accepted = _accepted(outside)
        violations = sum(outside.control("GET", "stats")["violations"].values())
        snoozes = lab.scalar("SELECT sum(claim_no) FROM jobs WHERE state = 'succeeded'") / max(1, accepted) - 1
    return Found(case.name, accepted, violations, accepted / (case.per_second * seconds), snoozes)


def _accept(demo: object, count: int, rate: float) -> None:
    """Accept messages that become due evenly, so many a second."""
    import sqlalchemy as sa

    import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
    from crm_tasks.core import db
    from crm_tasks.messages.service import outbox

    with db.transaction() as session:
        begin = session.scalar(sa.select(db.now())) + timedelta(seconds=10 + count / 40)
    for first in range(0, count, 500):
        with db.transaction() as session:
            for number in range(first, min(first + 500, count)):
                due = begin + timedelta(seconds=number / rate)
                new = outbox.NewMessage(type="template", content=TEMPLATE, scheduled_for=due)
                outbox.send_to(session, demo.workspace_id, demo.channel_id, f"+1555{number:07d}", new)  # type: ignore[attr-defined]


def _answers(outside: Sandbox) -> bool:
    with suppress(requests.RequestException):
        return outside.http.get(f"{outside.url}/_sandbox/health", timeout=1).ok
    return False


def _accepted(outside: Sandbox) -> int:
    return int(outside.control("GET", "stats")["accepted"])


@contextmanager
def _without_valkey(seconds: float) -> Iterator[None]:
    """Let Valkey stand still for the length of the block, if it is to be away at all."""
    if not seconds:
        yield
        return
    pid = measure.listener(lab.VALKEY_PORT)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def main() -> None:
    """Run the cases that were asked for, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pace", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help=", ".join(CASES))
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    table = Table("limit", "accepted", "violations", "used of what is allowed", "put off, per message")
    broken = 0
    with lab.lab():
        for name in asked.names or CASES:
            found = run(CASES[name], asked.seconds)
            broken += found.violations
            table.add_row(
                found.case, str(found.accepted), str(found.violations), f"{found.used:.1%}", f"{found.snoozes:.2f}"
            )
            console.print(f"  {found}")
    console.print(table)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
