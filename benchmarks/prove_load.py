"""`python -m benchmarks.prove_load`: customers write while everything is killed in turn; nothing is lost or doubled.

Web, each worker, the scheduler and Valkey get SIGKILL and are started again, and Valkey is emptied, once in each round.
When all is quiet, what the provider saw acknowledged, what we say and what the sandbox received are held against each
other. A send that was under way when its worker died is `unknown`: it must be one that the sandbox never got. These are
then released to be sent again, and in the end each customer has each answer exactly once.
"""

import argparse
import json
import os
import random
import signal
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import lab, prove_campaign, prove_stop, verdict
from benchmarks.customers import Customers
from benchmarks.kills import HOOK, Kill, System
from benchmarks.report import Report

console = Console(highlight=False, width=120)
_ACKNOWLEDGED = 120.0
_CUT_OFF = "SELECT count(*) FROM jobs WHERE task = 'messages.send' AND crashes > 0"


def main() -> None:
    """Run it; exits with 1 if anything was lost or doubled."""
    asked = _arguments()
    _environment(asked.lease)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if asked.campaign:
        report = prove_campaign.proven(asked, prove_stop.write_stop if asked.stops else prove_campaign.kill)
        prove_campaign.show(console, report)
    else:
        report = prove_load(asked)
        _show(report)
    if asked.json:
        Path(asked.json).write_text(json.dumps(asdict(report), indent=2) + "\n")
    sys.exit(0 if report.holds else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prove_load", description=__doc__)
    parser.add_argument("--messages", type=int, default=2_000, help="inbound messages (2000)")
    parser.add_argument("--rate", type=float, default=12.0, help="messages a second (12)")
    parser.add_argument("--campaign", type=int, metavar="N", help="send a campaign to N people instead of all that")
    parser.add_argument(
        "--stops", type=int, metavar="M", help="of them M write STOP in the middle, and nothing is killed"
    )
    parser.add_argument("--per-second", type=int, default=1_000, help="the campaign's channel takes so many (1000)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is killed (2)")
    parser.add_argument("--seed", type=int, default=1, help="decides the order of the kills and who writes (1)")
    parser.add_argument("--lease", type=float, help="seconds of a lease instead of the product's, for a quick run")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds to wait until all is quiet (600)")
    parser.add_argument("--keep-logs", metavar="DIR", help="copy the programs' logs here")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON")
    asked = parser.parse_args()
    if asked.stops and asked.stops > (asked.campaign or 0) / 3:
        parser.error("--stops needs a --campaign to at least three times as many people.")
    return asked


def _environment(lease: float | None) -> None:
    """Set what the programs are to differ in from `make run`, before any of it is read."""
    os.environ["REPLY_WINDOW"] = "0"
    os.environ["WEB_WORKERS"] = str(lab.WEB_PROCESSES)
    if lease:
        timeout = lease / 2
        os.environ.update(
            LEASE=str(lease),
            LEASE_RENEWAL=str(lease / 4),
            HTTP_TIMEOUT=str(timeout),
            UNKNOWN_WAIT=str(round(lease + timeout) + 1),
        )


def prove_load(asked: argparse.Namespace) -> Report:
    """Run the whole of it."""
    report = Report(options=vars(asked))
    system = System()
    try:
        with system.running():
            customers = Customers(HOOK, system.demo, count=asked.messages, rate=asked.rate, seed=asked.seed)
            try:
                _run(system, customers, asked, report)
            finally:
                customers.give_up()
    finally:
        lab.leave(asked.keep_logs)
    return report


def _run(system: System, customers: Customers, asked: argparse.Namespace, report: Report) -> None:
    started = time.time()
    customers.speak()
    kills = _kill_in_turn(system, customers, random.Random(asked.seed), asked.rounds)
    customers.join(_ACKNOWLEDGED + len(customers.said) / asked.rate)
    spoken = time.time()
    restless = verdict.until_quiet(system, asked.patience)
    seen = verdict.Witnesses(system, customers)
    report.first = verdict.check(seen) | {"All became quiet.": restless}
    report.figures = _figures(seen, started, spoken)
    report.kills = [_recovery(seen, kill, started) for kill in kills]
    report.figures["released"], restless = _release(system, customers, seen, asked.patience)
    seen = verdict.Witnesses(system, customers)
    unknown = [f"{row.answer_id} is still unknown" for row in seen.unknown()]
    report.last = verdict.check(seen) | {"Every answer has arrived.": unknown, "All became quiet.": restless}
    exits_0, report.crm_prove = verdict.crm_prove(system)
    report.complaints = system.complaints()
    report.holds = exits_0 and not any([*report.first.values(), *report.last.values()])


def _kill_in_turn(system: System, customers: Customers, some: random.Random, rounds: int) -> list[Kill]:
    """Kill each, in an order of its own in each round, spread over all that the customers say."""
    order = [name for _ in range(rounds) for name in some.sample(system.killable, len(system.killable))]
    kills = []
    for turn, name in enumerate(order):
        when = (turn + some.uniform(0.2, 0.8)) / len(order) * len(customers.said)
        while customers.spoken < when and customers.error is None:
            time.sleep(0.01)
        kills.append(system.kill(name, some, customers.spoken))
        console.print(f"  {name} killed at message {kills[-1].said_before}, back after {kills[-1].back_after:.1f} s")
    return kills


def _release(system: System, customers: Customers, seen: verdict.Witnesses, patience: float) -> tuple[int, list[str]]:
    """Decide, as a person may, that what is unknown is sent again; one more message gives the echo that allows it."""
    unknown = seen.unknown()
    if not unknown:
        return 0, []
    from crm_tasks.core import db

    system.outside.faults()
    customers.one_more()
    restless = verdict.until_quiet(system, patience)
    db.retrying(_send_again, [row.answer_id for row in unknown])
    return len(unknown), restless + verdict.until_quiet(system, patience)


def _send_again(session: Any, message_ids: list[Any]) -> None:
    import sqlalchemy as sa

    import crm_tasks.celery  # noqa: F401  knows the tasks
    from crm_tasks.core.jobs.enqueue import enqueue
    from crm_tasks.messages.models import Message
    from crm_tasks.workspaces.models import Channel, UnknownPolicy

    session.execute(sa.update(Channel).values(unknown_policy=UnknownPolicy.RESEND))
    for message_id in message_ids:
        enqueue(
            session,
            "messages.settle",
            args={"message_id": message_id},
            workspace_id=session.get_one(Message, message_id).workspace_id,
            unique_key=f"settle:{message_id}",
        )


# --- figures -----------------------------------------------------------------------------------------------------


def _figures(seen: verdict.Witnesses, started: float, spoken: float) -> dict[str, Any]:
    door = seen.customers.door
    answered = verdict.answered_at(seen)
    waits = sorted(at - door.acknowledged[wamid] for wamid, at in answered.items() if wamid in door.acknowledged)
    cuts = statistics.quantiles(waits, n=100)
    stored = verdict.rows(
        "SELECT count(*) FROM inbound_events WHERE convert_from(body, 'UTF8') LIKE '%\"messages\":[%'"
    )
    return {
        "messages": len(seen.customers.said),
        "conversations": len({said.wa_id for said in seen.customers.said}),
        "requests": door.requests,
        "not acknowledged": dict(door.refused),
        "sent twice on purpose": door.on_purpose,
        "stored": stored[0][0],
        "seconds of load": round(spoken - started, 1),
        "seconds until the last answer": round(max(answered.values()) - started, 1),
        "answers": len(answered),
        "answered after, p50": round(statistics.median(waits), 2),
        "answered after, p95": round(cuts[94], 2),
        "answered after, most": round(waits[-1], 2),
        "unknown": len(seen.unknown()),
        "sends cut off by a kill": verdict.rows(_CUT_OFF)[0][0],
        "jobs cut off by a kill": verdict.rows("SELECT coalesce(sum(crashes), 0) FROM jobs")[0][0],
        "sends by the sandbox's count": len(seen.received),
    }


def _recovery(seen: verdict.Witnesses, kill: Kill, started: float) -> dict[str, Any]:
    """Return how long what was acknowledged and unanswered at a kill still took."""
    answered = verdict.answered_at(seen)
    waiting = [
        answered[wamid] - kill.at
        for wamid, at in seen.customers.door.acknowledged.items()
        if at < kill.at and wamid in answered and answered[wamid] > kill.at
    ]
    after = sorted(at - kill.at for at in seen.customers.door.acknowledged.values() if at > kill.at)
    return {
        "killed": kill.name,
        "at": round(kill.at - started, 1),
        "message": kill.said_before,
        "away": round(kill.away, 1),
        "back_after": round(kill.back_after, 1),
        "next_200_after": round(after[0], 2) if after else None,
        "unanswered": len(waiting),
        "half_after": round(statistics.median(waiting), 1) if waiting else 0.0,
        "all_after": round(max(waiting, default=0.0), 1),
    }


_COLUMNS = {
    "killed": "killed (-9)",
    "at": "at s",
    "message": "message",
    "back_after": "back after s",
    "next_200_after": "next 200 after s",
    "unanswered": "unanswered then",
    "half_after": "half answered after s",
    "all_after": "all answered after s",
}


def _show(report: Report) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(_COLUMNS.values()):
        table.add_column(title, justify="right" if number else "left")
    for kill in report.kills:
        table.add_row(*(str(kill[key]) for key in _COLUMNS))
    console.print(table)
    for name, value in report.figures.items():
        console.print(f"{name:>30}  {value}", markup=False)
    for name, counted in report.complaints.items():
        for what, times in counted.items():
            console.print(f"{name} logged {times} times: {what}", markup=False, soft_wrap=True)
    console.print(report.crm_prove, markup=False)
    for title, found in (("when all was quiet", report.first), ("when the unknown were released", report.last)):
        console.rule(title)
        for says, lines in found.items():
            console.print(f"{'BROKEN' if lines else 'holds '} {says}", markup=False)
            for line in lines[:10]:
                console.print(f"         {line}", markup=False)
    console.print("[green]Nothing was lost and nothing doubled.[/]" if report.holds else "[red]It does not hold.[/]")


if __name__ == "__main__":
    main()
