"""`crm cleanup`."""

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.analytics import service
from crm_tasks.cli.shown import as_json, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import ring


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@as_json
def command(dry_run: bool, as_json: bool) -> None:
    """Remove what is older than its retention, now instead of at 03:00 UTC."""
    if not dry_run:
        with transaction() as session:
            job_id = service.go_on(session)
        ring.flush()
        print_json({"job_id": job_id}) if as_json else click.echo(f"`crm job show {job_id}` says what came of it.")
        return
    with transaction() as session:
        due = service.due(session)
    if as_json:
        print_json(due)
        return
    kept = {what.name: what.keep for what in service.clean_ups()}
    print_table(
        ("what", "older than", ">would go"),
        [(name, f"{kept[name].total_seconds() / 86400:g} days", count) for name, count in due.items()],
    )
