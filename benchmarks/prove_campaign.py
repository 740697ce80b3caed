"""`python -m benchmarks.prove_load --campaign N`: a campaign goes out while its workers are killed; nobody is lost.

Every three seconds a worker, chosen by chance of those that run, gets SIGKILL and comes back after a moment; Valkey is
killed twice. In the end what the sandbox received and what we say are held against each other, person by person.
"""

import argparse
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import broadcast, lab, verdict
from benchmarks.kills import VALKEY, System
from benchmarks.report import Report

WORKERS = ("worker-campaigns", "worker-io", "worker-bulk")
EVERY = 3.0
_AWAY = (0.2, 2.0)
_PAGE = 2_000
# Fewer a second than come through while workers die all the time: so long it may take.
_SLOWEST = 25
# An outside world that takes its time, so that a kill finds requests under way; and that tells nothing: no report
# settles what was cut off.
_SLOW = (
    {"kind": "message", "delay": 0.2, "probability": 0.5},
    {"kind": "message", "statuses": "none"},
)
# What a killed worker had under way, by its name.
_CUT_OFF = {
    "worker-campaigns": "campaigns.pump",
    "worker-io": "messages.send",
}
_SENDING = "SELECT m.id FROM messages m JOIN jobs j ON j.id = m.job_id WHERE m.state = 'sending' AND j.task = "
MESSAGES = "SELECT m.id, m.state, m.provider_id FROM recipients r JOIN messages m ON m.id = r.message_id"
STATES = (
    "SELECT coalesce(m.state, r.state) AS state, count(*) AS count "
    "FROM recipients r LEFT JOIN messages m ON m.id = r.message_id GROUP BY 1"
)
_CRASHES = "SELECT count(*) FROM jobs, jsonb_array_elements(errors) AS e WHERE e ->> 'code' = 'lost_lease'"
FINISHED = "SELECT count(*) FROM campaigns WHERE state = 'finished'"


class Journal:
    """What of a campaign the sandbox received, read while it comes: it keeps its newest entries only."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.received: dict[str, list[str]] = {}
        self.people: Counter[str] = Counter()
        self.got_at: dict[str, float] = {}
        self.missed = 0
        self._since = 0
        self._last = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """How many people have it."""
        return len(self.people)

    def close(self) -> None:
        """Read what is left."""
        self._over.set()
        self._thread.join(60)
        while self._read():
            pass

    def _follow(self) -> None:
        while not self._over.wait(0.5):
            while self._read():
                pass

    def _read(self) -> bool:
        page = self._system.outside.control("GET", f"log?since={self._since}&limit={_PAGE}")
        for entry in page["data"]:
            self.missed += entry["seq"] - self._last - 1
            self._last = entry["seq"]
            if entry["message_id"] and entry["body"]["type"] == "template":
                self.received.setdefault(entry["biz_opaque_callback_data"], []).append(entry["message_id"])
                to = entry["to"].lstrip("+")
                self.people[to] += 1
                self.got_at[to] = datetime.fromisoformat(entry["time"]).timestamp()
        self._since = page["next"]
        return bool(page["data"])


class Killer:
    """Kills a worker every three seconds, and Valkey at a third and at two thirds of the way."""

    def __init__(self, system: System, seed: int) -> None:
        self._system, self._some = system, random.Random(seed)
        self.kills: list[dict[str, Any]] = []
        # Each message once: what an earlier kill left behind may still be there.
        self.cut_off: set[Any] = set()
        self._away: set[str] = set()
        self._began = time.monotonic()
        self._threads = ThreadPoolExecutor(len(WORKERS))

    def strike(self, received: int) -> None:
        """Kill one of the workers that run."""
        there = [name for name in WORKERS if name not in self._away]
        if not there:
            return
        name = self._some.choice(there)
        self._away.add(name)
        self._system.end(name)
        cut = {row.id for row in verdict.rows(f"{_SENDING} '{_CUT_OFF[name]}'")} if name in _CUT_OFF else set()
        self._note(name, received, len(cut - self.cut_off))
        self.cut_off |= cut
        self._threads.submit(self._bring_back, name, self._some.uniform(*_AWAY))

    def strike_valkey(self, received: int) -> None:
        """Kill Valkey, and start it again."""
        self._note(VALKEY, received, 0)
        self._system.kill(VALKEY, self._some, received)

    def close(self) -> None:
        """Wait until all are there again."""
        self._threads.shutdown()

    def _bring_back(self, name: str, after: float) -> None:
        time.sleep(after)
        self._system.bring_back(name)
        self._away.discard(name)

    def _note(self, name: str, received: int, cut: int) -> None:
        at = round(time.monotonic() - self._began, 1)
        self.kills.append({"killed": name, "at": at, "received": received, "under way": cut})


def proven(asked: argparse.Namespace, run: Callable[[System, argparse.Namespace, Report], None]) -> Report:
    """Run one of the proofs about a campaign on a system of its own, and return what it found."""
    report = Report(options=vars(asked))
    system = System()
    try:
        with system.running():
            run(system, asked, report)
            exits_0, report.crm_prove = verdict.crm_prove(system)
            report.complaints = system.complaints()
            report.holds = exits_0 and not any(report.first.values())
    finally:
        lab.leave(asked.keep_logs)
    return report


def kill(system: System, asked: argparse.Namespace, report: Report) -> None:
    """Send a campaign whose workers die."""
    system.outside.faults(*_SLOW)
    broadcast.people(system.demo.workspace_id, asked.campaign)
    campaign_id, _ = broadcast.plan(system.demo, asked.campaign, per_second=asked.per_second)
    journal, killer = Journal(system), Killer(system, asked.seed)
    begun = time.monotonic()
    broadcast.start(system.demo.workspace_id, campaign_id)
    patience = max(asked.patience, asked.campaign / _SLOWEST)
    late = _kill_until_finished(killer, journal, asked.campaign, patience)
    took = time.monotonic() - begun
    killer.close()
    restless = verdict.until_quiet(system, asked.patience)
    journal.close()
    states = {row.state: row[1] for row in verdict.rows(STATES)}
    report.first = _checks(asked.campaign, states, journal, killer) | {
        "It finished.": late,
        "All became quiet.": restless,
    }
    report.kills = killer.kills
    report.figures = {
        "recipients": asked.campaign,
        **states,
        "received by the sandbox": sum(len(ids) for ids in journal.received.values()),
        "under way at kills": len(killer.cut_off),
        "kills": dict(Counter(kill["killed"] for kill in killer.kills)),
        "seconds": round(took, 1),
        "recipients a second": round(asked.campaign / took, 1),
        "crashes of jobs": int(lab.scalar(_CRASHES)),
    }


def _kill_until_finished(killer: Killer, journal: Journal, audience: int, patience: float) -> list[str]:
    """Kill on and on; nothing more is killed once everybody has it, as then nothing is left to be lost."""
    turns = [audience / 3, audience * 2 / 3]
    deadline, strike = time.monotonic() + patience, time.monotonic() + EVERY
    while not lab.scalar(FINISHED):
        if time.monotonic() > deadline:
            return [f"it was not finished after {patience:g} s"]
        if turns and journal.count >= turns[0]:
            turns.pop(0)
            killer.strike_valkey(journal.count)
        if time.monotonic() >= strike and journal.count < audience:
            strike = time.monotonic() + EVERY
            killer.strike(journal.count)
        time.sleep(0.1)
    return []


def _checks(audience: int, states: dict[str, int], journal: Journal, killer: Killer) -> dict[str, list[str]]:
    messages = verdict.rows(MESSAGES)
    return {
        "The states add up to the audience.": list(_sums(audience, states)),
        "Nobody got it twice.": [f"{to} got it {times} times" for to, times in journal.people.items() if times > 1],
        "What the sandbox received is what we say was accepted, or is unknown.": list(balance(messages, journal)),
        "Unknown is at most what was under way at a kill.": _unknown(states.get("unknown", 0), len(killer.cut_off)),
        "No job died.": [f"{row.task} {row.id}" for row in verdict.rows("SELECT * FROM jobs WHERE state = 'dead'")],
    }


def _sums(audience: int, states: dict[str, int]) -> Iterator[str]:
    if sum(states.values()) != audience:
        yield f"{states} is {sum(states.values())}, and {audience} were meant"
    yield from (f"{count} are {state}" for state, count in states.items() if state not in ("accepted", "unknown"))


def balance(messages: list[Any], journal: Journal) -> Iterator[str]:
    """Say of which messages the sandbox knows something else than we."""
    if journal.missed:
        yield f"{journal.missed} entries of the log were not seen"
    for row in messages:
        ids = journal.received.get(str(row.id), [])
        if row.state == "accepted" and ids != [row.provider_id]:
            yield f"{row.id} is accepted as {row.provider_id}, and the sandbox gave it {ids}"
        elif row.state not in ("accepted", "unknown") and ids:
            yield f"{row.id} is {row.state}, and the sandbox received it"
    yield from (f"the sandbox received {each}, which is not ours" for each in journal.received.keys() - _ids(messages))


def _ids(messages: list[Any]) -> set[str]:
    return {str(row.id) for row in messages}


def _unknown(unknown: int, cut_off: int) -> list[str]:
    return [f"{unknown} are unknown, and {cut_off} were under way"] if unknown > cut_off else []


def show(console: Console, report: Report) -> None:
    """Print it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(("killed (-9)", "at s", "received then", "under way")):
        table.add_column(title, justify="right" if number else "left")
    for kill in report.kills:
        table.add_row(*(str(value) for value in kill.values()))
    if report.kills:
        console.print(table)
    for name, value in report.figures.items():
        console.print(f"{name:>34}  {value}", markup=False)
    for name, counted in report.complaints.items():
        for what, times in counted.items():
            console.print(f"{name} logged {times} times: {what}", markup=False, soft_wrap=True)
    console.print(report.crm_prove, markup=False)
    for says, lines in report.first.items():
        console.print(f"{'BROKEN' if lines else 'holds '} {says}", markup=False)
        for line in lines[:10]:
            console.print(f"         {line}", markup=False)
    console.print(
        "[green]Nobody was lost, and nobody got it twice.[/]" if report.holds else "[red]It does not hold.[/]"
    )
