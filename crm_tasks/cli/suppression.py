"""`crm suppression`."""

import uuid

import click

from crm_tasks.cli.shown import ID, OneOf, actor, as_json, moment, print_json, print_table
from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.core.db import transaction
from crm_tasks.workspaces import service


@click.group()
def command() -> None:
    """Who does not want to be written to, and the evidence."""


@command.command("list")
@click.option("--address")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
@as_json
def list_(address: str | None, workspace_id: uuid.UUID | None, as_json: bool) -> None:
    """List the newest 200 addresses that are not to be written to."""
    with transaction() as session:
        found = suppression.listed(session, service.only(session, workspace_id).id, address=address, limit=200)
    if as_json:
        names = ("id", "address", "medium", "scope", "reason", "actor", "evidence", "changed_at")
        print_json([{name: getattr(entry, name) for name in names} for entry in found])
        return
    print_table(
        ("address", "medium", "scope", "reason", "by", "since"),
        [(s.address, s.medium, s.scope, s.reason, s.actor, moment(s.changed_at)) for s in found],
        empty="Nobody is suppressed.",
    )


@command.command()
@click.argument("address")
@click.option("--medium", type=click.Choice(suppression.MEDIA), default="*", show_default=True)
@click.option("--scope", type=OneOf(SuppressionScope), default=SuppressionScope.ALL.value, show_default=True)
@click.option("--note", required=True, help="How the person made it known.")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def add(address: str, medium: str, scope: str, note: str, workspace_id: uuid.UUID | None) -> None:
    """Do not write to ADDRESS any more: E.164, an e-mail address or a user id."""
    with transaction() as session:
        suppression.suppress(
            session,
            service.only(session, workspace_id).id,
            address,
            medium=medium,
            scope=SuppressionScope(scope),
            reason="cli",
            actor=actor(),
            evidence={"note": note},
        )
    click.echo(f"{address} is not written to any more.")
