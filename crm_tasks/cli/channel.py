"""`crm channel`."""

import uuid
from pathlib import Path
from typing import Any

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.cli.shown import ID, OneOf, actor, as_json, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs import ring
from crm_tasks.messages.channel_schemas import dump_standing
from crm_tasks.messages.service import channels
from crm_tasks.providers.registry import PROVIDERS
from crm_tasks.workspaces import credentials, service
from crm_tasks.workspaces.models import Channel, UnknownPolicy
from crm_tasks.workspaces.restore import restore


@click.group()
def command() -> None:
    """Channels: the numbers a workspace speaks from. Credentials are kept encrypted and never shown."""


@command.command()
@click.option("--kind", type=OneOf(PROVIDERS), default="whatsapp", show_default=True)
@click.option("--name", required=True)
@click.option("--phone-number-id")
@click.option("--waba-id")
@click.option("--display-phone-number")
@click.option("--token", help="Access token.", envvar="CHANNEL_TOKEN")
@click.option("--app-secret", envvar="CHANNEL_APP_SECRET")
@click.option("--verify-token", envvar="CHANNEL_VERIFY_TOKEN")
@click.option("--set", "others", multiple=True, metavar="NAME=VALUE", help="What else its kind needs; @FILE reads one.")
@click.option("--base-url", help="Where the API is; Meta's by default.")
@click.option("--api-version")
@click.option("--unknown-policy", type=OneOf(UnknownPolicy), default=UnknownPolicy.HOLD.value)
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
@as_json
def add(
    kind: str,
    name: str,
    display_phone_number: str | None,
    base_url: str | None,
    api_version: str | None,
    unknown_policy: str,
    workspace_id: uuid.UUID | None,
    as_json: bool,
    others: tuple[str, ...],
    **values: str | None,
) -> None:
    """Add a channel. Secrets can come from CHANNEL_TOKEN, CHANNEL_APP_SECRET and CHANNEL_VERIFY_TOKEN, or a file."""
    values["access_token"] = values.pop("token")
    new = service.NewChannel(
        kind=kind,
        name=name,
        values={**{key: value for key, value in values.items() if value}, **dict(map(_pair, others))},
        display_phone_number=display_phone_number,
        base_url=base_url,
        api_version=api_version,
        unknown_policy=UnknownPolicy(unknown_policy),
    )
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        channel = channels.add(session, workspace.id, new)
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


@command.command()
@click.argument("channel_id", type=ID)
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def show(channel_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """Show a channel and how it stands: what holds it, its circuit breaker, its pace. It is JSON, as of the API."""
    with transaction() as session:
        channel = service.channel(session, service.only(session, workspace_id).id, channel_id)
        (found,) = channels.standing(session, [channel])
    print_json(dump_standing(found))


@command.command()
@click.argument("channel_id", type=ID)
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def check(channel_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """Ask the provider whether it knows a channel by its credentials. Nothing is sent to anybody."""
    with transaction() as session:
        workspace = service.only(session, workspace_id)
    found = channels.check(workspace.id, channel_id)
    click.echo(found.said)
    raise SystemExit(0 if found.ok else 1)


@command.command("set")
@click.argument("channel_id", type=ID)
@click.argument("limits", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--name")
@click.option("--unknown-policy", type=OneOf(UnknownPolicy))
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def set_(
    channel_id: uuid.UUID,
    limits: tuple[str, ...],
    name: str | None,
    unknown_policy: str | None,
    workspace_id: uuid.UUID | None,
) -> None:
    """Change limits of a channel: per_second, unique_per_day, portfolio_id; NAME= without a value ends one."""
    given = {"name": name, "unknown_policy": unknown_policy, "settings": dict(map(_limit, limits)) or None}
    values = {key: value for key, value in given.items() if value is not None}
    if not values:
        raise click.UsageError("Say what to change, such as per_second=40 or --name.")
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        channel = service.change_channel(session, workspace.id, channel_id, values, actor=actor(), operator=True)
    if limits:
        channels.recount(channel)
    click.echo(f"{channel.name}: {', '.join(f'{k}={v}' for k, v in channel.settings.items()) or 'no settings'}")


@command.command("rotate-secret")
@click.argument("channel_id", type=ID)
@click.option("--app-secret", required=True, envvar="CHANNEL_APP_SECRET")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def rotate_secret(channel_id: uuid.UUID, app_secret: str, workspace_id: uuid.UUID | None) -> None:
    """Accept a new app secret beside the present one, until the next rotation."""
    with transaction() as session:
        channel = service.rotate_app_secret(session, service.only(session, workspace_id).id, channel_id, app_secret)
    click.echo(f"{channel.name} accepts {len(channel.signed_by)} app secrets.")


@command.command("rotate-credentials")
@click.argument("channel_id", type=ID)
@click.option("--set", "values", multiple=True, required=True, metavar="NAME=VALUE", help="A secret; @FILE reads it.")
@click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
def rotate_credentials(channel_id: uuid.UUID, values: tuple[str, ...], workspace_id: uuid.UUID | None) -> None:
    """Replace secrets of a channel, such as access_token: used from the next message on."""
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        channel = service.rotate_credentials(session, workspace.id, channel_id, dict(map(_pair, values)))
    click.echo(f"{channel.name} uses the new credentials.")


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
    heading = "would be" if dry_run else "what was done"
    print_table(("id", "channel", heading), [(each.channel_id, each.name, each.done) for each in found])


@command.command()
def kinds() -> None:
    """List the kinds of channel, and what each needs."""
    print_table(
        ("kind", "needs", "what it is"),
        [
            (kind.kind, need.name if need.required and need.default is None else f"({need.name})", need.what)
            for kind in PROVIDERS.values()
            for need in kind.needs
        ],
        empty="",
    )


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--set")
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text().strip()
        except (OSError, UnicodeError):
            raise click.BadParameter(f"The file {value[1:]} cannot be read.", param_hint="--set") from None
    return name.replace("-", "_"), value


def _limit(text: str) -> tuple[str, Any]:
    name, value = _pair(text)
    if name == "portfolio_id" or not value:
        return name, value or None
    try:
        return name, float(value) if "." in value else int(value)
    except ValueError:
        return name, value


def _plain(channel: Channel) -> dict[str, Any]:
    return {
        "id": str(channel.id),
        "workspace_id": str(channel.workspace_id),
        "kind": channel.kind,
        "name": channel.name,
        "phone_number_id": channel.phone_number_id,
        "waba_id": channel.waba_id,
        "base_url": channel.base_url,
        "api_version": channel.api_version,
        "settings": channel.settings,
        "unknown_policy": channel.unknown_policy,
    }
