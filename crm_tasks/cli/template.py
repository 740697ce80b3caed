"""`crm template`."""

import uuid

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.cli.shown import ID, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import ring
from crm_tasks.templates import service as templates
from crm_tasks.templates.schemas import dump_template
from crm_tasks.workspaces import service as workspaces


@click.group()
def command() -> None:
    """Message templates: what the provider has approved, and what is to be filled in."""


@command.command("list")
@click.option("--name")
@click.option("--status", help="Such as APPROVED; DELETED only if asked for.")
@click.option("--category")
@click.option("--language")
@click.option("--limit", default=200, show_default=True)
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
@as_json
def list_(workspace_id: uuid.UUID | None, limit: int, as_json: bool, **which: str | None) -> None:
    """List them."""
    with transaction() as session:
        workspace = workspaces.only(session, workspace_id)
        found = templates.listed(session, workspace.id, **which, limit=limit)  # type: ignore[arg-type]
    if as_json:
        print_json([dump_template(template) for template in found])
        return
    print_table(
        ("name", "language", "category", "status", "quality", "why", "fetched"),
        [(t.name, t.language, t.category, t.status, t.quality, t.reason, moment(t.synced_at)) for t in found],
        empty="No template yet: `crm template sync` fetches them.",
    )


@command.command()
@click.option("--channel", "channel_id", type=ID, help="Only this channel's.")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def sync(channel_id: uuid.UUID | None, workspace_id: uuid.UUID | None) -> None:
    """Fetch them from the provider. Happens by itself every day and when a webhook hints at a change."""
    with transaction() as session:
        workspace = workspaces.only(session, workspace_id)
        jobs = templates.ask_sync_of(session, workspace.id, channel_id)
    ring.flush()
    click.echo("\n".join(f"job {job}" for job in jobs) or "No channel has a business account (--waba-id).")
