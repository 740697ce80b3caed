"""`crm policy`."""

import json
import uuid

import click

from crm_tasks.cli.shown import ID, actor, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.workspaces import policies, service


@click.group()
def command() -> None:
    """Rules of a workspace about its messages: quiet_hours, frequency_cap, prices, budget, rate."""


@command.command("list")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
@as_json
def list_(workspace_id: uuid.UUID | None, as_json: bool) -> None:
    """List the rules that are set."""
    with transaction() as session:
        found = policies.listed(session, service.only(session, workspace_id).id)
    if as_json:
        print_json([{"name": p.name, "value": p.value, "set_by": p.set_by, "set_at": p.set_at} for p in found])
        return
    print_table(
        ("name", "value", "set by", "at"),
        [(p.name, json.dumps(p.value), p.set_by, moment(p.set_at)) for p in found],
        empty='No rule is set. `crm policy set quiet_hours \'{"from": "21:00", "to": "08:00"}\'` sets one.',
    )


@command.command("set")
@click.argument("name")
@click.argument("value")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def set_(name: str, value: str, workspace_id: uuid.UUID | None) -> None:
    """Set the rule NAME to VALUE, a JSON object such as {"messages": 2, "days": 7}."""
    try:
        read = json.loads(value)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise click.BadParameter("Write a JSON object.", param_hint="VALUE")
    with transaction() as session:
        policies.put(session, service.only(session, workspace_id).id, name, read, actor=actor())
    click.echo(f"{name} is set.")


@command.command()
@click.argument("name")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def remove(name: str, workspace_id: uuid.UUID | None) -> None:
    """End the rule NAME."""
    with transaction() as session:
        policies.remove(session, service.only(session, workspace_id).id, name, actor=actor())
    click.echo(f"{name} is no more.")
