"""`crm notification`."""

import uuid

import click

from crm_tasks.cli.shown import ID, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.notifications import service
from crm_tasks.notifications.schemas import NotificationOut


@click.group()
def command() -> None:
    """Notifications: what people should know, counted while nobody has read it."""


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that were read.")
@click.option("--workspace", "workspace_id", type=ID, help="Only this workspace's.")
@click.option("--limit", default=30, show_default=True, type=click.IntRange(1, 1000))
@as_json
def list_(everything: bool, workspace_id: uuid.UUID | None, limit: int, as_json: bool) -> None:
    """List what nobody has read, the newest first."""
    with transaction() as session:
        found = service.listed(session, workspace_id=workspace_id, unread=not everything, limit=limit)
    if as_json:
        print_json([NotificationOut().dump(each) for each in found])
        return
    print_table(
        ("id", "severity", ">times", "last", "what", "details", "read"),
        [(n.id, n.severity, n.count, moment(n.last_at), n.title, n.text, moment(n.read_at)) for n in found],
        empty="Nothing new.",
    )


@command.command()
@click.argument("notification_id", type=ID, required=False)
@click.option("--all", "everything", is_flag=True, help="All of them.")
def read(notification_id: uuid.UUID | None, everything: bool) -> None:
    """Mark one as read, or --all. If the same happens again, there is a new one."""
    if (notification_id is None) != everything:
        raise click.UsageError("Name one notification, or say --all.")
    with transaction() as session:
        if notification_id is None:
            count = service.read_all(session)
        else:
            service.read(session, notification_id)
            count = 1
    click.echo(f"{count} read.")
