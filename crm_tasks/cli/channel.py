"""`crm channel`."""

import uuid
from pathlib import Path

import click

from crm_tasks.cli.shown import ID, OneOf, as_json, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Invalid
from crm_tasks.workspaces import credentials, service
from crm_tasks.workspaces.models import Channel, ChannelKind, UnknownPolicy
from crm_tasks.workspaces.restore import restore


@click.group()
def command() -> None:
    """Channels: the numbers a workspace speaks from. Credentials are kept encrypted and never shown."""


@command.command()
@click.option("--kind", type=OneOf(ChannelKind), default=ChannelKind.WHATSAPP.value, show_default=True)
@click.option("--name", required=True)
@click.option("--phone-number-id", required=True)
@click.option("--waba-id")
@click.option("--display-phone-number")
@click.option("--token", required=True, help="Access token.", envvar="CHANNEL_TOKEN")
@click.option("--app-secret", required=True, envvar="CHANNEL_APP_SECRET")
@click.option("--verify-token", required=True, envvar="CHANNEL_VERIFY_TOKEN")
@click.option("--base-url", help="Where the API is; Meta's by default.")
@click.option("--api-version")
@click.option("--unknown-policy", type=OneOf(UnknownPolicy), default=UnknownPolicy.HOLD.value)
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
@as_json
def add(
    kind: str, token: str, unknown_policy: str, workspace_id: uuid.UUID | None, as_json: bool, **fields: str
) -> None:
    """Add a channel. Secrets can come from CHANNEL_TOKEN, CHANNEL_APP_SECRET and CHANNEL_VERIFY_TOKEN."""
    new = service.NewChannel(
        kind=ChannelKind(kind), access_token=token, unknown_policy=UnknownPolicy(unknown_policy), **fields
    )
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        channel = service.add_channel(session, workspace.id, new)
    print_json(_plain(channel)) if as_json else click.echo(f"{channel.id}  {channel.name}")


@command.command("list")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
@as_json
def list_(workspace_id: uuid.UUID | None, as_json: bool) -> None:
    """List the channels of a workspace."""
    with transaction() as session:
        found = service.channels(session, service.only(session, workspace_id).id)
    if as_json:
        print_json([_plain(channel) for channel in found])
        return
    print_table(
        ("id", "kind", "name", "number id", "number", "at", "unknown sends"),
        [
            (c.id, c.kind, c.name, c.phone_number_id, c.display_phone_number, c.base_url, c.unknown_policy)
            for c in found
        ],
        empty="No channel yet: `crm channel add --help`.",
    )


@command.command("rotate-secret")
@click.argument("channel_id", type=ID)
@click.option("--app-secret", required=True, envvar="CHANNEL_APP_SECRET")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def rotate_secret(channel_id: uuid.UUID, app_secret: str, workspace_id: uuid.UUID | None) -> None:
    """Accept a new app secret beside the present one, until the next rotation."""
    with transaction() as session:
        channel = service.rotate_app_secret(session, service.only(session, workspace_id).id, channel_id, app_secret)
    click.echo(f"{channel.name} accepts {len(channel.signed_by)} app secrets.")


@command.command("rotate-token")
@click.argument("channel_id", type=ID)
@click.option("--token", required=True, help="The new access token.", envvar="CHANNEL_TOKEN")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def rotate_token(channel_id: uuid.UUID, token: str, workspace_id: uuid.UUID | None) -> None:
    """Send with a new access token from the next message on. It can come from CHANNEL_TOKEN."""
    with transaction() as session:
        channel = service.rotate_token(session, service.only(session, workspace_id).id, channel_id, token)
    click.echo(f"{channel.name} sends with the new token.")


@command.command("restore-credentials")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another file.")
@click.option("--force", is_flag=True, help="Also over newer credentials in the database.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def restore_credentials(file: Path | None, force: bool, dry_run: bool) -> None:
    """Bring channels and their credentials back from CRM_HOME/credentials.cache into a database that lost them.

    ENCRYPTION_KEYS must hold the key with which the file was written. Users, API keys and conversations are not in it.
    """
    kept = credentials.read(file)
    if not kept:
        raise Invalid(
            f"{file or credentials.path()} holds no credentials that can be read.",
            hint="Is CRM_HOME the workers', and is the key of that time among ENCRYPTION_KEYS?",
        )
    with transaction() as session:
        found = restore(session, kept.values(), force=force)
        if dry_run:
            session.rollback()
    print_table(
        ("id", "channel", "would be" if dry_run else "what was done"), [(r.channel_id, r.name, r.done) for r in found]
    )


def _plain(channel: Channel) -> dict[str, str | None]:
    return {
        "id": str(channel.id),
        "workspace_id": str(channel.workspace_id),
        "kind": channel.kind,
        "name": channel.name,
        "phone_number_id": channel.phone_number_id,
        "waba_id": channel.waba_id,
        "base_url": channel.base_url,
        "api_version": channel.api_version,
        "unknown_policy": channel.unknown_policy,
    }
