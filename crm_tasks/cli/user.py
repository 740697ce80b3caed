"""`crm user`."""

import uuid

import click

from crm_tasks.cli.shown import ID, actor, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.workspaces import invitations, lockout, members, service, users
from crm_tasks.workspaces.roles import MemberRole, permissions

_WORKSPACE = click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
_ROLE = click.option(
    "--role", type=click.Choice([str(role) for role in MemberRole]), default="admin", show_default=True
)
_ALL = permissions(None, operator=True)


@click.group()
def command() -> None:
    """People who log in to the admin."""


@command.command()
@click.argument("email")
@_ROLE
@_WORKSPACE
@click.option("--operator", is_flag=True, help="Runs the system: sees every workspace, needs no role.")
@click.option("--password", help="Generated if left out.", envvar="CRM_USER_PASSWORD")
@as_json
def add(
    email: str, role: str, workspace_id: uuid.UUID | None, operator: bool, password: str | None, as_json: bool
) -> None:
    """Add a person to a workspace, or one who runs the system."""
    with transaction() as session:
        user, secret = users.create(session, email, password=password, operator=operator)
        if not operator:
            members.add(session, service.only(session, workspace_id).id, user.id, MemberRole(role))
    print_json({"email": user.email, "password": secret}) if as_json else click.echo(f"{user.email}  {secret}")


@command.command()
@click.argument("email")
@_ROLE
@_WORKSPACE
@as_json
def invite(email: str, role: str, workspace_id: uuid.UUID | None, as_json: bool) -> None:
    """Print a link by which a person joins a workspace: once, within seven days."""
    with transaction() as session:
        workspace = service.only(session, workspace_id)
        invitation, link = invitations.invite(session, workspace.id, email, MemberRole(role), actor=actor(), may=_ALL)
    print_json({"email": invitation.email, "link": link}) if as_json else click.echo(link)


@command.command()
@click.argument("email")
@click.argument("role", type=click.Choice([str(role) for role in MemberRole]))
@_WORKSPACE
def role(email: str, role: str, workspace_id: uuid.UUID | None) -> None:
    """Give a person a role in a workspace; one who is not in it is let in."""
    with transaction() as session:
        workspace, user = service.only(session, workspace_id), users.get(session, email)
        if any(place.workspace_id == workspace.id for place in members.places(session, user.id, operator=False)):
            members.change_role(session, workspace.id, user.id, MemberRole(role), may=_ALL)
        else:
            members.add(session, workspace.id, user.id, MemberRole(role))
    click.echo(f"{user.email} is {role} of {workspace.name}.")


@command.command()
@click.argument("email")
@_WORKSPACE
def remove(email: str, workspace_id: uuid.UUID | None) -> None:
    """Let a person see a workspace no more."""
    with transaction() as session:
        workspace, user = service.only(session, workspace_id), users.get(session, email)
        members.remove(session, workspace.id, user.id, may=_ALL)
    click.echo(f"{user.email} is not in {workspace.name} any more.")


@command.command()
@click.argument("email")
@click.option("--password", help="Generated if left out.", envvar="CRM_USER_PASSWORD")
def password(email: str, password: str | None) -> None:
    """Give a person a new password; all sessions of that person end."""
    with transaction() as session:
        secret = users.set_password(session, email, password)
    click.echo(secret)


@command.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the people, and what they are where."""
    with transaction() as session:
        found = users.listed(session)
        roles = members.roles_of(session, [user.id for user in found])
    told = {user.id: (["operator"] if user.operator else []) + roles.get(user.id, []) for user in found}
    if as_json:
        print_json([{"email": user.email, "roles": told[user.id], "active": user.active} for user in found])
        return
    print_table(
        ("email", "roles", "may log in", "since"),
        [(u.email, ", ".join(told[u.id]), "" if u.active else "no", moment(u.created_at)) for u in found],
        empty="Nobody yet: `crm user add EMAIL`.",
    )


@command.command()
@click.argument("email")
def unlock(email: str) -> None:
    """Let a person log in again at once after too many attempts."""
    with transaction() as session:
        tried = lockout.unlock(session, email)
    click.echo(f"{email} may try again." if tried else f"Nobody has tried to log in as {email} lately.")


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
