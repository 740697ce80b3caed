"""`crm user`."""

import click

from crm_tasks.cli.shown import as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.workspaces import users


@click.group()
def command() -> None:
    """People who log in to the admin."""


@command.command()
@click.argument("email")
@click.option("--role", type=click.Choice(list(users.ROLES)), default="admin", show_default=True)
@click.option("--password", help="Generated if left out.", envvar="CRM_USER_PASSWORD")
@as_json
def add(email: str, role: str, password: str | None, as_json: bool) -> None:
    """Add a person."""
    with transaction() as session:
        user, secret = users.create(session, email, password=password, role=role)
    print_json({"email": user.email, "password": secret}) if as_json else click.echo(f"{user.email}  {secret}")


@command.command()
@click.argument("email")
@click.option("--password", help="Generated if left out.", envvar="CRM_USER_PASSWORD")
def password(email: str, password: str | None) -> None:
    """Give a person a new password; all sessions of that person end."""
    with transaction() as session:
        secret = users.set_password(session, email, password)
    click.echo(secret)


@command.command("list")
def list_() -> None:
    """List the people."""
    with transaction() as session:
        found = users.listed(session)
        rows = [
            (u.email, ", ".join(r.name for r in u.roles), "" if u.active else "no", moment(u.created_at)) for u in found
        ]
    print_table(("email", "roles", "may log in", "since"), rows, empty="Nobody yet: `crm user add EMAIL`.")


@command.command()
@click.argument("email")
def disable(email: str) -> None:
    """Let a person log in no more."""
    with transaction() as session:
        users.set_active(session, email, active=False)
    click.echo(f"{email} cannot log in any more.")


@command.command()
@click.argument("email")
def enable(email: str) -> None:
    """Let a person log in again."""
    with transaction() as session:
        users.set_active(session, email, active=True)
    click.echo(f"{email} can log in.")
