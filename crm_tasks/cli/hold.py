"""`crm hold`."""

import uuid
from datetime import UTC, datetime, timedelta

import click

from crm_tasks.cli.shown import actor, as_json, moment, print_json, print_table
from crm_tasks.core import holds
from crm_tasks.core.db import transaction
from crm_tasks.core.schemas import HoldOut


@click.group()
def command() -> None:
    """Holds: stop work by scope, everywhere, until released.

    A scope is all, queue:NAME, task:NAME, workspace:ID, channel:ID, endpoint:ID, campaign:ID, contact:ID or
    conversation:ID.
    """


@command.command()
@click.argument("scope")
@click.option("--reason", required=True, help="Why; others will read it.")
@click.option("--minutes", type=float, help="End by itself after so long.")
@as_json
def place(scope: str, reason: str, minutes: float | None, as_json: bool) -> None:
    """Stop everything in SCOPE from being started. What already runs finishes."""
    expires = datetime.now(UTC) + timedelta(minutes=minutes) if minutes else None
    with transaction() as session:
        hold = holds.place(session, scope, reason=reason, actor=actor(), expires_at=expires)
    if as_json:
        print_json(HoldOut().dump(hold))
    else:
        click.echo(f"{hold.scope} is held: {hold.id}")


@command.command("list")
@click.option("--ended", is_flag=True, help="The last 200, also those that are over.")
@as_json
def list_(ended: bool, as_json: bool) -> None:
    """List the holds in force, with how many jobs wait behind each."""
    with transaction() as session:
        counts = holds.held_counts(session)
        found = holds.listed(session, ended=ended)
    if as_json:
        print_json([HoldOut().dump(h) | {"held_jobs": counts.get(str(h.id), 0)} for h in found])
        return
    print_table(
        ("id", "scope", ">jobs", "reason", "by", "since", "until"),
        [
            (
                h.id,
                h.scope,
                counts.get(str(h.id), 0),
                h.reason,
                h.actor,
                moment(h.created_at),
                moment(h.released_at or h.expires_at),
            )
            for h in found
        ],
        empty="Nothing is held.",
    )


@command.command()
@click.argument("what")
def release(what: str) -> None:
    """End a hold by its id, or every hold of a scope."""
    with transaction() as session:
        try:
            hold_id = uuid.UUID(what)
        except ValueError:
            ended = holds.release_scope(session, what, actor=actor())
        else:
            holds.release(session, hold_id, actor=actor())
            ended = 1
    click.echo(f"{ended} released." if ended else f"Nothing holds {what}.")
