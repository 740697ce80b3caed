"""`crm channel`."""

import uuid

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.cli.shown import ID, OneOf, as_json, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import ring
from crm_tasks.templates import service as templates
from crm_tasks.workspaces import service
from crm_tasks.workspaces.models import Channel, ChannelKind, UnknownPolicy


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
        templates.ask_sync(session, channel)
    ring.flush()
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
