"""`python -m benchmarks.outage`: Postgres is stopped while messages are being sent; none is lost, none goes twice.

What was under way at that moment is answered by the provider while nobody can write it down: the worker keeps it and
writes it once Postgres is back. What nobody knows then is `unknown`, at most as many as were under way.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import lab, measure
from tests import harness
from tests.fixtures import NUMBER, Demo, make_demo
from tests.harness import BEAT_READY, WORKER_READY
from tests.outside import Sandbox

console = Console(highlight=False, width=120)
TEMPLATE = {"name": "hello_world", "language": {"code": "en_US"}}
_THREADS = 20
_WRITTEN_WITHIN, _DONE_WITHIN = 30.0, 120.0
_LEFT = "SELECT count(*) FROM messages WHERE state IN ('queued', 'sending')"
_SENDING = "SELECT count(*) FROM messages WHERE state = 'sending'"


@dataclass(slots=True)
class Report:
    """What came of it."""

    messages: int
    seconds_away: float
    answered_before: int = 0
    under_way: int = 0
    kept_by_the_worker: int = 0
    written_after: float = 0.0
    all_done_after: float = 0.0
    accepted: int = 0
    unknown: int = 0
    other: int = 0
    received: int = 0
    twice: int = 0
    not_received: int = 0
    lost_answers: int = 0
    crashes: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return (
            self.accepted + self.unknown == self.messages
            and self.unknown <= self.under_way
            and not (self.twice or self.other or self.lost_answers or self.not_received > self.unknown)
        )


def main() -> None:
    """Run it; exits with 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--messages", type=int, default=200, help="messages to send (200)")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long Postgres is away (90)")
    parser.add_argument("--answer", type=float, default=2.0, help="seconds that the provider takes to answer (2)")
    parser.add_argument("--lease", type=float, help="seconds of a lease instead of the product's, for a quick run")
    parser.add_argument("--limit", type=float, help="time limit of a send instead of the product's, in seconds")
    parser.add_argument("--keep-logs", metavar="DIR", help="copy the programs' logs here")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON")
    asked = parser.parse_args()
    _environment(asked)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = outage(asked)
    for name, value in asdict(report).items():
        console.print(f"{name.replace('_', ' '):>20}  {value:g}")
    console.print("[green]It holds.[/]" if report.holds else "[red]It does not hold.[/]")
    if asked.json:
        Path(asked.json).write_text(json.dumps(asdict(report), indent=2) + "\n")
    sys.exit(0 if report.holds else 1)


def _environment(asked: argparse.Namespace) -> None:
    """Set what the programs are to differ in from `make run`, before any of it is read."""
    os.environ["LOG_LEVEL"] = "INFO"
    if asked.lease:
        timeout = asked.lease / 2
        os.environ.update(
            LEASE=str(asked.lease),
            LEASE_RENEWAL=str(asked.lease / 4),
            HTTP_TIMEOUT=str(timeout),
            UNKNOWN_WAIT=str(round(asked.lease + timeout) + 1),
        )
    if asked.limit:
        os.environ["QUEUE_MESSAGES_TIME_LIMIT"] = str(asked.limit)


def outage(asked: argparse.Namespace) -> Report:
    """Run the whole of it."""
    import shutil

    from crm_tasks.core import db, migrate
    from crm_tasks.stack import home
    from crm_tasks.stack.postgres import Postgres
    from crm_tasks.stack.process import Process
    from crm_tasks.stack.stores import running, wait_for
    from crm_tasks.stack.valkey import Valkey

    home.make(lab.HOME)
    store = Postgres(lab.HOME, port=lab.POSTGRES_PORT, password=lab.PASSWORD)
    postgres = Process(store.program())
    outside = Sandbox(harness.sandbox(lab.HOME, lab.SANDBOX_PORT, "", NUMBER), lab.SANDBOX_PORT)
    programs = [harness.beat(lab.HOME), harness.worker(lab.HOME, "messages", concurrency=_THREADS)]
    report = Report(asked.messages, asked.seconds)
    try:
        with running(Valkey(lab.HOME, port=lab.VALKEY_PORT, password=lab.PASSWORD)):
            postgres.start()
            wait_for(store, postgres)
            migrate.upgrade()
            outside.start("/_sandbox/health")
            outside.faults({"kind": "message", "delay": asked.answer, "statuses": "none"})
            for program, ready in zip(programs, (BEAT_READY, WORKER_READY), strict=True):
                program.start(ready)
            _post(make_demo(base_url=outside.url), asked.messages)
            _stop_in_the_middle(postgres, outside, report)
            time.sleep(asked.seconds)
            postgres.start()
            wait_for(store, postgres)
            _finish(report, outside)
            report.kept_by_the_worker = _kept(programs[1].said())
            return report
    finally:
        for program in (*programs, outside.program):
            if program.popen is not None:
                program.kill()
        db.dispose()
        if postgres.pid:
            os.killpg(postgres.pid, signal.SIGKILL)
        if asked.keep_logs:
            shutil.copytree(lab.HOME, asked.keep_logs, ignore=_all_but_logs, dirs_exist_ok=True)
        shutil.rmtree(lab.HOME, ignore_errors=True)


def _all_but_logs(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".log") and not (Path(folder) / name).is_dir()]


def _post(demo: Demo, count: int) -> None:
    import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
    from crm_tasks.core import db
    from crm_tasks.core.jobs import ring
    from crm_tasks.messages.service import outbox

    with db.transaction() as session:
        for n in range(count):
            new = outbox.NewMessage(type="template", content=TEMPLATE)
            outbox.send_to(session, demo.workspace_id, demo.channel_id, f"+1555{n:07d}", new)
    ring.flush()


def _stop_in_the_middle(postgres: Any, outside: Sandbox, report: Report) -> None:
    """Stop Postgres when a quarter is answered and every thread of the worker waits for an answer."""
    measure.until(lambda: len(_answered(outside)) >= report.messages / 4, 120)
    measure.until(lambda: lab.scalar(_SENDING) >= _THREADS, 60)
    report.answered_before = len(_answered(outside))
    postgres.ask_to_stop()
    measure.until(postgres.ended, 60)
    # Received by then, or about to be: whoever has committed its `sending` will send.
    report.under_way = _THREADS


def _answered(outside: Sandbox) -> list[dict[str, Any]]:
    return [entry for entry in outside.sends() if entry["status"] == 200]


def _kept(log: str) -> int:
    """Return of how many sends the worker says that it kept what they came to."""
    lines = (line for line in log.splitlines() if '"job.outcome_waits"' in line)
    return len({json.loads(line)["job_id"] for line in lines})


def _finish(report: Report, outside: Sandbox) -> None:
    from crm_tasks.core import db

    back = time.monotonic()
    db.dispose()
    report.written_after = _seconds(lambda: not _kept_waiting(outside), back, _WRITTEN_WITHIN)
    report.all_done_after = _seconds(lambda: lab.scalar(_LEFT) == 0, back, _DONE_WITHIN)
    time.sleep(2)  # what would be sent twice has its chance
    states = _states()
    report.accepted, report.unknown = states.pop("accepted", 0), states.pop("unknown", 0)
    report.other = sum(states.values())
    received = Counter(entry["body"]["biz_opaque_callback_data"] for entry in outside.sends())
    report.received = received.total()
    report.twice = sum(count - 1 for count in received.values())
    report.not_received = report.messages - len(received)
    report.lost_answers = len({entry["body"]["biz_opaque_callback_data"] for entry in _answered(outside)} - _written())
    report.crashes = int(lab.scalar("SELECT coalesce(sum(crashes), 0) FROM jobs WHERE task = 'messages.send'"))


def _seconds(condition: Callable[[], bool], since: float, patience: float) -> float:
    """Return how long it took until a condition held; -1 if it did not, which the figures then show."""
    try:
        measure.until(condition, patience, every=0.05)
    except TimeoutError:
        return -1.0
    return round(time.monotonic() - since, 1)


def _kept_waiting(outside: Sandbox) -> set[str]:
    """Return the messages that the provider has answered and of whose answer nothing is written."""
    try:
        return {entry["body"]["biz_opaque_callback_data"] for entry in _answered(outside)} - _written() - _decided()
    except Exception:  # noqa: BLE001  Postgres may only just have begun to serve
        return {"unknown"}


def _written() -> set[str]:
    return _ids("SELECT id FROM messages WHERE provider_id IS NOT NULL")


def _decided() -> set[str]:
    return _ids("SELECT id FROM messages WHERE state = 'unknown'")


def _ids(statement: str) -> set[str]:
    import sqlalchemy as sa

    from crm_tasks.core import db

    with db.transaction() as session:
        return {str(each) for each in session.scalars(sa.text(statement))}


def _states() -> dict[str, int]:
    import sqlalchemy as sa

    from crm_tasks.core import db

    with db.transaction() as session:
        found = session.execute(sa.text("SELECT state, count(*) FROM messages GROUP BY state")).all()
    return {state: count for state, count in found}  # noqa: C416  rows are no pairs to mypy


if __name__ == "__main__":
    main()
