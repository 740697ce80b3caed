"""`crm key`."""

import uuid

import click

from crm_tasks.cli.shown import ID, as_json, moment, print_json, print_table
from crm_tasks.core import crypto
from crm_tasks.core.db import transaction
from crm_tasks.webhooks.service import endpoints as webhooks
from crm_tasks.workspaces import service

_workspace = click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")


@click.group()
def command() -> None:
    """API keys, and the keys that encrypt credentials."""


@command.command()
@click.argument("name")
@click.option("--operator", is_flag=True, help="Also see and hold what is not the workspace's own.")
@_workspace
@as_json
def create(name: str, operator: bool, workspace_id: uuid.UUID | None, as_json: bool) -> None:
    """Make an API key; it is shown this once."""
    with transaction() as session:
        key, secret = service.create_key(session, service.only(session, workspace_id).id, name, operator=operator)
    print_json({"id": key.id, "name": key.name, "api_key": secret}) if as_json else click.echo(secret)


@command.command("list")
@_workspace
@as_json
def list_(workspace_id: uuid.UUID | None, as_json: bool) -> None:
    """List the keys of a workspace."""
    with transaction() as session:
        found = service.keys(session, service.only(session, workspace_id).id)
    if as_json:
        print_json([{"id": k.id, "name": k.name, "prefix": k.prefix, "revoked_at": k.revoked_at} for k in found])
        return
    print_table(
        ("id", "name", "begins with", "operator", "since", "revoked"),
        [
            (k.id, k.name, k.prefix, "yes" if k.operator else "", moment(k.created_at), moment(k.revoked_at))
            for k in found
        ],
    )


@command.command()
@click.argument("key_id", type=ID)
@_workspace
def revoke(key_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """End a key at once."""
    with transaction() as session:
        key = service.revoke_key(session, service.only(session, workspace_id).id, key_id)
    click.echo(f"{key.name} ({key.prefix}…) is revoked.")


@command.command()
def encryption() -> None:
    """Print a new encryption key. Put it first in ENCRYPTION_KEYS, then run `crm key rotate`."""
    click.echo(crypto.new_key())


@command.command()
def rotate() -> None:
    """Encrypt every credential with the first of ENCRYPTION_KEYS; the older keys can then be taken out."""
    with transaction() as session:
        rows, endpoints = service.reencrypt(session), webhooks.reencrypt(session)
    click.echo(f"{rows} channels and {endpoints} webhook endpoints are encrypted with the first key.")
