"""`crm events`."""

import uuid

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.cli.shown import ID, OneOf, actor, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import ring
from crm_tasks.messages.models import EventState
from crm_tasks.messages.service import events


@click.group()
def command() -> None:
    """Webhook requests. What could not be understood is quarantined: kept, visible, in nobody's way."""


@command.command("list")
@click.option("--state", type=OneOf(EventState), default=EventState.QUARANTINED.value, show_default=True)
@click.option("--limit", default=30, show_default=True)
@as_json
def list_(state: str, limit: int, as_json: bool) -> None:
    """List them, the newest first."""
    with transaction() as session:
        found = events.listed(session, state=EventState(state), limit=limit)
    if as_json:
        print_json([{"id": e.id, "received_at": e.received_at, "state": e.state, "problem": e.problem} for e in found])
        return
    print_table(
        ("id", "received", "state", ">bytes", "problem"),
        [(e.id, moment(e.received_at), e.state, len(e.body), e.problem) for e in found],
        empty=f"No {state} events.",
    )


@command.command()
@click.argument("event_id", type=ID)
def show(event_id: uuid.UUID) -> None:
    """Print one as it came."""
    with transaction() as session:
        event = events.get(session, event_id)
    click.echo(f"{event.id}  {moment(event.received_at)}  {event.state}  {event.problem or ''}", err=True)
    click.echo(event.body.decode("utf-8", "replace"))


@command.command()
@click.argument("event_id", type=ID, required=False)
@click.option("--all", "everything", is_flag=True, help="All that are quarantined.")
def replay(event_id: uuid.UUID | None, everything: bool) -> None:
    """Apply quarantined events again, after what was missing has been added."""
    if (event_id is None) == (not everything):
        raise click.UsageError("Give an id, or --all.")
    total = 0
    if event_id is not None:
        with transaction() as session:
            events.replay(session, event_id, actor=actor())
        total = 1
    after: uuid.UUID | None = None
    while everything:
        with transaction() as session:
            done = events.replay_all(session, actor=actor(), after=after)
        if not done:
            break
        total, after = total + len(done), done[-1]
    ring.flush()
    click.echo(f"{total} events will be applied again.")
