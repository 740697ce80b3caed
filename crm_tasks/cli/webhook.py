"""`crm webhook`."""

import uuid
from datetime import UTC, datetime
from typing import Any

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.cli.shown import ID, OneOf, actor, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import ring
from crm_tasks.webhooks.models import EVERYTHING, DeliveryState
from crm_tasks.webhooks.schemas import dump_delivery, dump_endpoint
from crm_tasks.webhooks.service import endpoints, history
from crm_tasks.workspaces import service as workspaces

_workspace = click.option("--workspace", "workspace_id", type=ID, help="Needed if there are several.")
_since = click.option("--since", type=click.DateTime(), help="Only from this moment on (UTC).")


@click.group()
def command() -> None:
    """Webhooks to the businesses' own systems: who is told what, and what became of it."""


@command.command("list")
@_workspace
@as_json
def list_(workspace_id: uuid.UUID | None, as_json: bool) -> None:
    """List the endpoints of a workspace."""
    with transaction() as session:
        found = endpoints.listed(session, workspaces.only(session, workspace_id).id)
    if as_json:
        print_json([dump_endpoint(each) for each in found])
        return
    print_table(
        ("id", "url", "events", "state", ">failures", "why disabled", "since"),
        [
            (e.id, e.url, ", ".join(e.events), e.state, e.failures or "", e.disabled_reason, moment(e.state_since))
            for e in found
        ],
        empty="No endpoint yet: `crm webhook add URL`.",
    )


@command.command()
@click.argument("url")
@click.option("--event", "events", multiple=True, default=[EVERYTHING], help="A type to tell; all by default.")
@click.option("--description", default="")
@click.option("--hub-signature", is_flag=True, help="Also sign with the older X-Hub-Signature-256.")
@click.option("--rate", default=10, show_default=True, help="Requests per second at most.")
@click.option("--concurrency", default=5, show_default=True, help="Requests at once at most.")
@_workspace
@as_json
def add(workspace_id: uuid.UUID | None, as_json: bool, events: tuple[str, ...], **fields: Any) -> None:
    """Add an endpoint; its secret is shown this once."""
    new = endpoints.NewEndpoint(events=list(events), **fields)
    with transaction() as session:
        made = endpoints.add(session, workspaces.only(session, workspace_id).id, new, actor=actor())
    print_json(dump_endpoint(made, secret=True)) if as_json else click.echo(f"{made.id}  {made.secret}")


@command.command()
@click.argument("endpoint_id", type=ID)
@_workspace
def remove(endpoint_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """Remove an endpoint; what waits for it is cancelled."""
    with transaction() as session:
        endpoints.remove(session, workspaces.only(session, workspace_id).id, endpoint_id, actor=actor())
    click.echo(f"{endpoint_id} is removed.")


@command.command()
@click.argument("endpoint_id", type=ID)
@_workspace
def enable(endpoint_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """Tell an endpoint things again, after what was wrong with it was mended."""
    _switch(endpoint_id, workspace_id, "enabled")


@command.command()
@click.argument("endpoint_id", type=ID)
@_workspace
def disable(endpoint_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """Tell an endpoint nothing more; what waits for it is cancelled and can be replayed."""
    _switch(endpoint_id, workspace_id, "disabled")


@command.command()
@click.argument("endpoint_id", type=ID)
@_workspace
def rotate(endpoint_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """Make a new secret, shown this once. For 24 hours every delivery is signed with both."""
    with transaction() as session:
        workspace = workspaces.only(session, workspace_id)
        made = endpoints.rotate_secret(session, workspace.id, endpoint_id, actor=actor())
    click.echo(made.secret)


@command.command()
@click.argument("endpoint_id", type=ID)
@_workspace
def test(endpoint_id: uuid.UUID, workspace_id: uuid.UUID | None) -> None:
    """Send webhook.test to an endpoint now."""
    with transaction() as session:
        delivery_id = endpoints.test(session, workspaces.only(session, workspace_id).id, endpoint_id)
    ring.flush()
    click.echo(f"{delivery_id} is on its way; `crm webhook deliveries {endpoint_id}` shows what became of it.")


@command.command()
@click.argument("endpoint_id", type=ID)
@click.option("--state", type=OneOf(DeliveryState))
@click.option("--limit", default=30, show_default=True)
@_since
@_workspace
@as_json
def deliveries(
    endpoint_id: uuid.UUID,
    state: str | None,
    limit: int,
    since: datetime | None,
    workspace_id: uuid.UUID | None,
    as_json: bool,
) -> None:
    """List deliveries of an endpoint, the newest first."""
    with transaction() as session:
        found = history.deliveries(
            session,
            workspaces.only(session, workspace_id).id,
            endpoint_id,
            state=DeliveryState(state) if state else None,
            since=_utc(since),
            limit=limit,
        )
    if as_json:
        print_json([dump_delivery(row) for row in found])
        return
    print_table(
        ("id", "event", "state", ">attempts", "last", "begun"),
        [(d.id, type, d.state, d.attempts, d.last_error or d.last_status, moment(d.created_at)) for d, type in found],
        empty="No deliveries.",
    )


@command.command()
@click.argument("what", type=ID)
@_since
@_workspace
def replay(what: uuid.UUID, since: datetime | None, workspace_id: uuid.UUID | None) -> None:
    """Send a delivery again by its id; or with --since all that an endpoint, by its id, was not delivered."""
    with transaction() as session:
        workspace = workspaces.only(session, workspace_id)
        if since is None:
            history.replay(session, workspace.id, what, actor=actor())
    moment_ = _utc(since)
    total = 1 if moment_ is None else history.replay_all(workspace.id, what, since=moment_, actor=actor())
    ring.flush()
    click.echo(f"{total} deliveries are sent again.")


def _switch(endpoint_id: uuid.UUID, workspace_id: uuid.UUID | None, state: str) -> None:
    with transaction() as session:
        workspace = workspaces.only(session, workspace_id)
        endpoints.change(session, workspace.id, endpoint_id, {"state": state}, actor=actor())
    click.echo(f"{endpoint_id} is {state}.")


def _utc(given: datetime | None) -> datetime | None:
    return given.replace(tzinfo=UTC) if given else None
