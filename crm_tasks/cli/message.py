"""`crm message`."""

import uuid

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.cli.shown import ID, OneOf, actor, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import ring
from crm_tasks.messages.service import settle as settling
from crm_tasks.messages.service.settle import Decision


@click.group()
def command() -> None:
    """Messages whose fate nobody knows: sent perhaps, and without an answer."""


@command.command()
@click.option("--limit", default=30, show_default=True)
@as_json
def unknown(limit: int, as_json: bool) -> None:
    """List them, the newest first."""
    with transaction() as session:
        found = settling.waiting(session, limit=limit)
    if as_json:
        print_json([{"id": m.id, "created_at": m.created_at, "error": m.error} for m in found])
        return
    print_table(
        ("id", "created", "type", "why"),
        [(m.id, moment(m.created_at), m.type, (m.error or {}).get("title")) for m in found],
        empty="No message is unknown.",
    )


@command.command()
@click.argument("message_id", type=ID)
@click.option("--as", "how", type=OneOf(Decision), required=True, help="Send it again, or take it for failed.")
def settle(message_id: uuid.UUID, how: Decision) -> None:
    """Decide about one. Ask the customer or look at the phone first: sent again, it may arrive twice."""
    with transaction() as session:
        message = settling.decide(session, message_id, how, actor=actor())
    ring.flush()
    click.echo(f"{message.id} is {message.state}")
