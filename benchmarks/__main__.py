"""`python -m benchmarks [name …] [--rounds N] [--json FILE]`: measure, compare, print a table, write JSON."""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import broadcast, fairness, idle, imports, ingestion, lab, ledger, measure, reply, sends

Results = dict[str, Any]
console = Console()
_TARGET_MB = 600


def main() -> None:
    """Run what was asked for, or everything."""
    asked = _arguments()
    lacking = lab.missing() if {"ingestion", "sends", "broadcast", "imports"} & set(asked.names) else []
    if lacking:
        sys.exit(f"bench: the comparison with Node needs {', '.join(lacking)}")
    results: Results = {"machine": _machine(), "rounds": asked.rounds}
    with lab.lab():
        for name in asked.names:
            console.rule(name)
            results[name] = _BENCHES[name](asked.rounds)
    Path(asked.json).write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"Written to {asked.json}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*_BENCHES, []], help=", ".join(_BENCHES))
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turn (3)")
    parser.add_argument("--json", default="benchmarks.json", help="file to write (benchmarks.json)")
    asked = parser.parse_args()
    asked.names = asked.names or list(_BENCHES)
    return asked


def _machine() -> dict[str, Any]:
    cpu = next((line for line in _cpuinfo() if line.startswith("model name")), ":").partition(":")[2].strip()
    return {"cpu": cpu, "cores": measure.cores(), "python": platform.python_version(), "system": platform.platform()}


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def _ingestion(rounds: int) -> Results:
    """Durable webhooks per second, beside Node."""
    runs = _in_turn(rounds, {"ours": lambda: ingestion.ours(6), "node": lambda: ingestion.peer(6)})
    for name, found in runs.items():
        for run in found:
            if run["stored"] < run["requests"] or run["errors"]:
                raise SystemExit(f"bench: {name} lost requests: {run}")
    _table("Durable webhooks, 64 connections", runs, "req/s")
    return _summary(runs, ours="ours", peer="node", target=1.0)


def _ledger(rounds: int) -> Results:
    """No-op jobs per second, beside bare Celery."""
    jobs = 5_000
    runs = _in_turn(
        rounds,
        {
            "ledger": lambda: ledger.ours(jobs),
            "celery -E": lambda: ledger.bare(jobs, events=True),
            "celery": lambda: ledger.bare(jobs, events=False),
        },
    )
    _table(f"{jobs} no-op jobs, 20 threads", runs, "jobs/s")
    return _summary(runs, ours="ledger", peer="celery", target=0.6) | {
        "ratio_with_events": _median(runs["ledger"]) / _median(runs["celery -E"])
    }


def _sends(rounds: int) -> Results:
    """Messages per second at a provider that takes 50 ms, beside BullMQ and a bare loop."""
    messages = 3_000
    sides = {"ours": sends.ours, "bullmq": sends.bullmq, "asyncio": sends.bare}
    runs = _in_turn(rounds, {name: partial(side, messages) for name, side in sides.items()})
    _table(f"{messages} sends, provider at 50 ms", runs, "sends/s")
    return _summary(runs, ours="ours", peer="bullmq", target=0.0)


def _imports(_rounds: int) -> Results:
    """Rows of a file per second, beside Node and a raw COPY; one round, as each is minutes of work."""
    rows = 1_000_000
    path = imports.file_of(rows)
    sides = {"ours": imports.ours, "node": imports.node, "copy": imports.raw_copy}
    runs = _in_turn(1, {name: partial(side, path, rows) for name, side in sides.items()})
    console.print(f"  {rows:,} rows in the file, {rows:,} contacts, each created once")
    table = Table("", "rows/s", "seconds", "peak MB", "CPU s per 1,000", "with stores", title=f"{rows:,} clean rows")
    for name, (run,) in runs.items():
        figures = (f"{run['per_second']:,.0f}", f"{run['seconds']:.1f}", f"{run['peak_mb']:.0f}")
        table.add_row(name, *figures, f"{run['cpu_s_per_1000']:.3f}", f"{run['all_cpu_s_per_1000']:.3f}")
    console.print(table)
    return _summary(runs, ours="ours", peer="node", target=0.0) | {"target_per_second": 50_000}


def _broadcast(rounds: int) -> Results:
    """A campaign, beside BullMQ and a bare loop: first whether all of it is right."""
    people = broadcast.RECIPIENTS
    sides = {
        "ours": broadcast.ours,
        "with sandbox": broadcast.with_sandbox,
        "bullmq": sends.bullmq,
        "asyncio": sends.bare,
    }
    runs = _in_turn(rounds, {name: partial(side, people) for name, side in sides.items()})
    for name in ("ours", "with sandbox"):
        for run in runs[name]:
            if wrong := broadcast.Broadcast(**run).wrong(people, statuses=name != "ours"):
                raise SystemExit(f"bench: {name}: {'; '.join(wrong)}")
        console.print(f"{name}: {people:,} accepted, as many as the provider took, nobody twice, all accounted for")
    _table(f"Broadcast to {people:,}", runs, "messages/s")
    for name in ("ours", "with sandbox"):
        console.print(
            f"{name}: planned {_median(runs[name], 'planned_per_second'):,.0f}/s, of a bare INSERT … SELECT "
            f"{_median(runs[name], 'planned_ratio'):.2f} (target 0.5); at its peak the worker of campaigns "
            f"{_median(runs[name], 'peak_mb'):.0f} MB, all processes {_median(runs[name], 'all_peak_mb'):.0f} MB"
        )
    console.print(
        f"with sandbox: the last status applied {_median(runs['with sandbox'], 'statuses_s'):.1f} s after the start, "
        f"{_median(runs['with sandbox'], 'statuses_behind_s'):.1f} s after the last acceptance, in "
        f"{_median(runs['with sandbox'], 'webhooks'):,.0f} webhooks; CPU of the sandbox "
        f"{_median(runs['with sandbox'], 'sandbox_cpu_s_per_1000'):.2f} s per 1,000 messages"
    )
    return _summary(runs, ours="ours", peer="bullmq", target=0.0)


def _reply(rounds: int) -> Results:
    """How long a customer waits."""
    before = measure.statements()
    runs = {"ours": [asdict(reply.ours(15)) for _ in range(rounds)]}
    _show_spent(before)
    table = Table("p50 ms", "p95 ms", "p99 ms", "answers", title=f"Webhook to answer at {reply.RATE}/s")
    for run in runs["ours"]:
        table.add_row(*(f"{run[key]:.0f}" for key in ("p50_ms", "p95_ms", "p99_ms", "answers")))
    console.print(table)
    console.print(f"Redis connections per process meanwhile: {runs['ours'][-1]['redis_connections']}")
    return {"runs": runs}


def _fairness(_rounds: int) -> Results:
    """Whether a crowd keeps others waiting, and whether weights are shares."""
    waited, shared = fairness.waited(), fairness.shared()
    console.print(
        f"10 jobs behind {fairness.CROWD:,} of another: waited p50 {waited.p50:.2f} s, p95 {waited.p95:.2f} s "
        f"(target 2), at most {waited.longest:.2f} s"
    )
    served = ", ".join(f"{weight}: {share:.1%}" for weight, share in shared.shares.items())
    console.print(f"shares by weight {served}; at most {shared.off:.1%} from what is due (target 5 %)")
    return {"waited": asdict(waited), "shared": asdict(shared)}


def _idle(_rounds: int) -> Results:
    """Memory and Redis connections at rest."""
    found = idle.ours()
    table = Table("process", "PSS MB", "Redis connections", title="make run, idle")
    for each in found:
        table.add_row(each.name, f"{each.pss_mb:.1f}", str(each.redis_connections or ""))
    total = sum(each.pss_mb for each in found)
    table.add_row("all", f"{total:.0f} (target {_TARGET_MB})", str(sum(each.redis_connections for each in found)))
    console.print(table)
    return {"processes": [asdict(each) for each in found], "pss_mb": total, "target_mb": _TARGET_MB}


_BENCHES: dict[str, Callable[[int], Results]] = {
    "ingestion": _ingestion,
    "ledger": _ledger,
    "sends": _sends,
    "broadcast": _broadcast,
    "reply": _reply,
    "fairness": _fairness,
    "imports": _imports,
    "idle": _idle,
}


def _in_turn(rounds: int, sides: dict[str, Callable[[], Any]]) -> dict[str, list[Results]]:
    """Run the sides one after the other, forwards and backwards in turn: a machine that slows down slows both."""
    runs: dict[str, list[Results]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            before = measure.statements()
            runs[name].append(asdict(sides[name]()))
            console.print(f"  {name}: {runs[name][-1]['per_second']:,.0f}/s")
            if name == next(iter(sides)) and number == rounds - 1:
                _show_spent(before)
    return runs


def _show_spent(before: dict[str, tuple[float, int]]) -> None:
    console.print("  Postgres, in this run:", *measure.spent(before), sep="\n    ", markup=False)


def _median(runs: Sequence[Results], key: str = "per_second") -> float:
    return statistics.median(run[key] for run in runs)


def _table(title: str, runs: dict[str, list[Results]], unit: str) -> None:
    keys = [
        key
        for key in ("p50_ms", "p99_ms", "cpu_s_per_1000", "all_cpu_s_per_1000")
        if key in next(iter(runs.values()))[0]
    ]
    table = Table("", f"{unit} (median)", "all runs", *keys, title=title)
    for name, found in runs.items():
        every = ", ".join(f"{run['per_second']:,.0f}" for run in found)
        table.add_row(name, f"{_median(found):,.0f}", every, *(f"{_median(found, key):.3g}" for key in keys))
    console.print(table)


def _summary(runs: dict[str, list[Results]], *, ours: str, peer: str, target: float) -> Results:
    ratio = _median(runs[ours]) / _median(runs[peer])
    console.print(f"{ours} / {peer} = [bold]{ratio:.2f}[/] (target {target})")
    return {"runs": runs, "ratio": ratio, "target": target}


if __name__ == "__main__":
    main()
