"""`crm workspace`."""

import uuid

import click
import sqlalchemy as sa

from crm_tasks.cli.shown import ID, actor, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.workspaces import service, suspension
from crm_tasks.workspaces.models import Workspace


@click.group()
def command() -> None:
    """Workspaces: the tenants."""


@command.command()
@click.argument("name")
@click.option("--region", default="US", show_default=True, help="Country in which phone numbers are written.")
@as_json
def add(name: str, region: str, as_json: bool) -> None:
    """Make a workspace."""
    with transaction() as session:
        made = service.create(session, name, region=region)
    print_json({"id": made.id, "name": made.name}) if as_json else click.echo(f"{made.id}  {made.name}")


@command.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the workspaces."""
    with transaction() as session:
        found = list(session.scalars(sa.select(Workspace).order_by(Workspace.id)))
    if as_json:
        print_json(
            [
                {
                    "id": w.id,
                    "name": w.name,
                    "region": w.region,
                    "weight": w.weight,
                    "auto_reply_since": w.auto_reply_since,
                }
                for w in found
            ]
        )
        return
    print_table(
        ("id", "name", "region", "weight", "answers by itself since", "since"),
        [(w.id, w.name, w.region, w.weight, moment(w.auto_reply_since) or "no", moment(w.created_at)) for w in found],
        empty="No workspace yet: `crm workspace add NAME`.",
    )


@command.command()
@click.argument("weight", type=int)
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def weight(weight: int, workspace_id: uuid.UUID | None) -> None:
    """Give a workspace its share of the workers while others have work too: 2 is twice that of 1."""
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        service.set_weight(session, workspace.id, weight, actor="crm workspace")
    click.echo(f"{workspace.name} has the weight {weight}.")


@command.command("auto-reply")
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def auto_reply(state: str, workspace_id: uuid.UUID | None) -> None:
    """Have customers answered by the language model, or not."""
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        service.set_auto_reply(session, workspace, on=state == "on")
    click.echo(f"Automatic answers in {workspace.name} are {state}.")


@command.command()
@click.option("--reason", required=True, help="Why; others will read it.")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def suspend(reason: str, workspace_id: uuid.UUID | None) -> None:
    """Let no work of a workspace be started. What comes in is kept, and waits."""
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        suspension.suspend(session, workspace.id, reason=reason, actor=actor())
    click.echo(f"{workspace.name} is suspended.")


@command.command()
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def release(workspace_id: uuid.UUID | None) -> None:
    """Let the work of a suspended workspace go on."""
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        suspension.release(session, workspace.id, actor=actor())
    click.echo(f"{workspace.name} goes on.")
