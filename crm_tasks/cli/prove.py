"""`crm prove`."""

import sys
from datetime import timedelta

import click
from rich.markup import escape

from crm_tasks.cli.shown import as_json, console, print_json
from crm_tasks.prove.invariant import MOST_SHOWN, SETTLED, Finding
from crm_tasks.prove.run import prove


@click.command()
@click.option("--sandbox", metavar="URL", help="Also compare with everything that a sandbox received.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=SETTLED.total_seconds(),
    show_default=True,
    help="What is younger may be under way and is excused; 0 when all is quiet.",
)
@as_json
def command(sandbox: str | None, grace: float, as_json: bool) -> None:
    """Check that nothing was lost and nothing doubled: ledger, broker, conversations.

    Each invariant is a sentence; what contradicts it is named. Exits with 1 if anything does.
    """
    findings = []
    for finding in prove(sandbox, grace=timedelta(seconds=grace)):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json([{"name": f.name, "says": f.says, "holds": f.holds, "violations": f.violations} for f in findings])
    broken = sum(not finding.holds for finding in findings)
    if not as_json:
        console.print(f"[red]{broken} of {len(findings)} do not hold.[/]" if broken else f"All {len(findings)} hold.")
    sys.exit(1 if broken else 0)


def _show(finding: Finding) -> None:
    mark = "[green]holds [/]" if finding.holds else "[red]BROKEN[/]"
    console.print(f"{mark} [bold]{finding.name}[/]: {finding.says}", soft_wrap=True)
    for line in finding.violations[:MOST_SHOWN]:
        console.print(f"         {escape(line)}", soft_wrap=True)
    if len(finding.violations) > MOST_SHOWN:
        console.print(f"         … {len(finding.violations)} in all")
