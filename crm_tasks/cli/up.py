"""`crm up`."""

import click

from crm_tasks.core import db, migrate
from crm_tasks.stack import first_run
from crm_tasks.stack.up import up


@click.command()
@click.option("--no-sandbox", is_flag=True, help="Leave the simulated outside world out.")
def command(no_sandbox: bool) -> None:
    """Start everything: embedded Postgres and Valkey, migrations, the Procfile's processes, the sandbox.

    Stores named by DATABASE_URL and REDIS_URL are used instead of the embedded ones. Data lives in CRM_HOME (.crm).
    """
    up(
        sandbox=not no_sandbox,
        prepare=[migrate.upgrade, first_run.prepare, db.dispose],
        ready=lambda: first_run.announce(click.echo),
    )
