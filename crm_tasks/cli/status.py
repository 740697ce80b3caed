"""`crm status`."""

import sys
from dataclasses import asdict
from typing import Any

import click
from rich.markup import escape

from crm_tasks import status
from crm_tasks.cli.shown import as_json, console, length, print_json, print_table
from crm_tasks.config import settings
from crm_tasks.stack import state
from crm_tasks.status import Status


@click.command()
@as_json
def command(as_json: bool) -> None:
    """Show everything on one screen. Exits with 1 if something needs a look."""
    found = status.collect()
    supervisor = state.status(settings().home)
    found.supervised = [asdict(process) for process in supervisor.processes] if supervisor else []
    if as_json:
        print_json(_plain(found))
    else:
        _show(found)
    sys.exit(0 if found.ok else 1)


def _show(found: Status) -> None:
    console.print("[bold]Stores[/]")
    for store in found.stores:
        mark = "[green]ok [/]" if store.probe.ok else f"[red]{store.probe.kind or 'bad'}[/]"
        console.print(f"  {mark} {escape(store.probe.message)} ({store.probe.latency * 1000:.0f} ms)")
    age = found.scheduler_age
    console.print(f"  scheduler: {'never ticked' if age is None else f'last tick {length(age)} ago'}")
    if found.supervised:
        console.print("\n[bold]Processes of this machine[/]")
        rows = [(p["name"], p["pid"], p["state"], p["restarts"]) for p in found.supervised]
        print_table(("name", ">pid", "state", ">restarts"), rows)
    if found.processes:
        console.print("\n[bold]Processes of all hosts[/]")
        print_table(
            ("name", "kind", "host", ">running", "queues"),
            [
                (p.name, p.kind, p.host, f"{p.running}/{p.concurrency}" if p.concurrency else "", ", ".join(p.queues))
                for p in found.processes
            ],
        )
    if found.queues:
        _show_queues(found)
    for problem in found.problems:
        console.print(f"[yellow]•[/] {escape(problem)}")
    if found.ok:
        console.print("[green]All is well.[/]")


def _show_queues(found: Status) -> None:
    console.print("\n[bold]Queues[/]")
    print_table(
        ("queue", ">waiting", ">delayed", ">held", ">active", ">failed", ">completed", ">oldest", ""),
        [
            (
                row.name,
                row.waiting,
                row.delayed,
                row.held,
                row.active,
                row.failed,
                row.completed,
                length(row.oldest_age),
                "paused" if row.is_paused else "",
            )
            for row in found.queues
        ],
    )
    if found.oldest is not None and found.now is not None:
        waits = (found.now - found.oldest.run_at).total_seconds()
        console.print(f"oldest waiting job: {found.oldest.task} {found.oldest.id}, {length(waits)}\n")
    else:
        console.print("nothing that could run waits\n")


def _plain(found: Status) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "problems": found.problems,
        "stores": [
            {"name": s.name, "ok": s.probe.ok, "kind": s.probe.kind, "message": s.probe.message} for s in found.stores
        ],
        "scheduler_age": found.scheduler_age,
        "supervised": found.supervised,
        "processes": [
            {"name": p.name, "kind": p.kind, "host": p.host, "pid": p.pid, "queues": p.queues} for p in found.processes
        ],
        "queues": [
            {
                "name": row.name,
                "waiting": row.waiting,
                "delayed": row.delayed,
                "held": row.held,
                "active": row.active,
                "failed": row.failed,
                "completed": row.completed,
                "paused": row.is_paused,
                "oldest_age": row.oldest_age,
            }
            for row in found.queues
        ],
        "oldest_waiting": str(found.oldest.id) if found.oldest else None,
    }
