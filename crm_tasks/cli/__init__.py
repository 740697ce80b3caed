"""`crm`: the system from a terminal. Commands are loaded when they are called, so `crm --help` is quick."""

import logging
import sys
from importlib import import_module
from typing import Any

import click

import crm_tasks
from crm_tasks.core import log
from crm_tasks.core.errors import ConfigError, DomainError

# command: (module, one line for `crm --help`), in the order in which they are shown.
COMMANDS = {
    "up": ("up", "Start everything; Ctrl-C stops it"),
    "status": ("status", "Show stores, processes, queues and what needs a look"),
    "migrate": ("migrate", "Bring the database to this version"),
    "prove": ("prove", "Check that nothing was lost and nothing doubled"),
    "job": ("job", "List, show, cancel, retry jobs"),
    "dlq": ("dlq", "Dead letters: see, retry, discard"),
    "hold": ("hold", "Stop work by scope, and let it go on"),
    "campaign": ("campaign", "Campaigns: see, rehearse, start, stop, retry"),
    "message": ("message", "Messages of unknown fate: see, decide"),
    "notification": ("notification", "What people should know: see, mark as read"),
    "policy": ("policy", "Quiet hours, caps, prices, budget, rate"),
    "suppression": ("suppression", "Who does not want to be written to"),
    "webhook": ("webhook", "Webhooks to the businesses' own systems"),
    "events": ("events", "Webhook requests that were put aside: see, replay"),
    "ring": ("ring", "Ring everything that is due, now"),
    "cleanup": ("cleanup", "Remove what is older than its retention, or show it"),
    "workspace": ("workspace", "Workspaces"),
    "channel": ("channel", "Channels and their credentials"),
    "template": ("template", "Message templates: see, fetch"),
    "key": ("key", "API keys and encryption keys"),
    "user": ("user", "People who log in to the admin"),
}

# Whose errors may mean that a store is away.
_LIBRARIES = {"sqlalchemy", "psycopg", "redis", "kombu", "amqp"}


class Commands(click.Group):
    """A group whose commands are modules of this package, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in their order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one; `crm messages` is `crm message`."""
        if cmd_name not in COMMANDS:
            cmd_name = cmd_name.removesuffix("s")
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"crm_tasks.cli.{COMMANDS[cmd_name][0]}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run one; what a person did wrong is a sentence and not a traceback."""
        try:
            return super().invoke(ctx)
        except DomainError as error:
            _complain(error)
        except ConfigError as error:
            click.echo(f"crm: {error}", err=True)
        except Exception as error:
            if (away := _store_away(error)) is None:
                raise
            click.echo(f"crm: {away}\n  `crm status` looks at every store.", err=True)
        sys.exit(1)


def _store_away(error: Exception) -> str | None:
    """Return what is wrong with the store that was not there; None if that was not it.

    By a look at each, as their drivers are not imported for a command that needs none.
    """
    if not _LIBRARIES & {kind.__module__.partition(".")[0] for kind in type(error).__mro__}:
        return None
    from crm_tasks.config import settings
    from crm_tasks.core.probe import probe_broker, probe_postgres, probe_redis

    config = settings()
    stores = ((probe_postgres, config.database_url), (probe_redis, config.redis_url), (probe_broker, config.broker_url))
    for probe, url in stores:
        if not (found := probe(url)).ok:
            return found.message
    return None


def _complain(error: DomainError) -> None:
    click.echo(f"crm: {error.message}", err=True)
    for field in error.fields:
        click.echo(f"  {field.field}: {field.message}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(crm_tasks.__version__, prog_name="crm")
def crm() -> None:
    """The backend of a WhatsApp CRM.

    Start with `crm up`. The environment says where the stores are (docs/configuration.md); without it, the servers
    that `crm up` runs in .crm are used.
    """
    # Without asking the settings: `crm up` makes some of them first.
    log.configure(logging.WARNING)
