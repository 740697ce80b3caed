"""`crm migrate`."""

import click

from crm_tasks.core import db, migrate


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="The version to go to.")
@click.option("--down", is_flag=True, help="Go down to that version instead of up.")
def command(revision: str, down: bool) -> None:
    """Bring the database to this version. Safe while the system runs, and on several hosts at once."""
    if down:
        migrate.downgrade(revision)
    else:
        migrate.upgrade(revision)
    click.echo(f"The database is at {db.retrying(migrate.version) or 'nothing'}.")
