"""`crm up`."""

import subprocess
import sys

import click

from crm_tasks.core.errors import ConfigError
from crm_tasks.stack.announce import announce
from crm_tasks.stack.up import up


@click.command()
@click.option("--no-sandbox", is_flag=True, help="Leave the simulated outside world out.")
def command(no_sandbox: bool) -> None:
    """Start everything: embedded Postgres and Valkey, migrations, the Procfile's processes, the sandbox.

    Stores named by DATABASE_URL and REDIS_URL are used instead of the embedded ones. Data lives in CRM_HOME (.crm).
    """
    up(sandbox=not no_sandbox, prepare=[_first_run], ready=lambda: announce(click.echo))


def _first_run() -> None:
    if subprocess.run([sys.executable, "-m", "crm_tasks.stack.first_run"], check=False).returncode:
        raise ConfigError("The database could not be prepared: see the lines above.")
