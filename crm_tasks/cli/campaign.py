"""`crm campaign`."""

import uuid
from collections.abc import Callable
from typing import Any

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.campaigns.schemas import dump_campaign, dump_recipient, dump_stats
from crm_tasks.campaigns.service import drafting, lifecycle, progress, recipients, rehearsal, retrying, states
from crm_tasks.cli.shown import ID, OneOf, actor, as_json, length, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import ring
from crm_tasks.messages.models import MessageState


@click.group()
def command() -> None:
    """Campaigns: see them, rehearse, start, stop, retry."""


@command.command("list")
@click.option("--state", type=OneOf(CampaignState))
@click.option("--limit", default=30, show_default=True)
@as_json
def list_(state: CampaignState | None, limit: int, as_json: bool) -> None:
    """List campaigns, the newest first."""
    with transaction() as session:
        found = drafting.listed(session, state=CampaignState(state) if state else None, limit=limit)
    if as_json:
        print_json([dump_campaign(each) for each in found])
        return
    print_table(
        ("id", "name", "state", ">audience", "starts", "started", "finished"),
        [
            (c.id, c.name, c.state, c.audience_total, *map(moment, (c.scheduled_for, c.started_at, c.finished_at)))
            for c in found
        ],
        empty="No campaign yet: POST /api/v1/campaigns or /admin/campaigns/new makes one.",
    )


@command.command()
@click.argument("campaign_id", type=ID)
@as_json
def show(campaign_id: uuid.UUID, as_json: bool) -> None:
    """Show a campaign: its state, its figures, its forecast, why some got nothing."""
    with transaction() as session:
        campaign = states.get(session, None, campaign_id)
        stats = progress.count(session, campaign)
    if as_json:
        print_json(dump_stats(campaign, stats))
        return
    click.echo(f"{campaign.name} is {campaign.state}.")
    if campaign.halted_by:
        click.echo("Halted by {rule}: {value}; the limit is {limit}.".format(**campaign.halted_by))
    states_ = [(name, count) for name, count in stats.states.items() if count]
    print_table(("state", ">recipients"), [("audience", stats.audience), *states_, ("replies", stats.replies)])
    if stats.failures:
        print_table(
            ("nothing because", ">recipients", "title"), [(f["code"], f["count"], f["title"]) for f in stats.failures]
        )
    if campaign.rehearsal:
        _show_forecast(campaign.rehearsal)


def _show_forecast(report: dict[str, Any]) -> None:
    print_table(("forecast", ">recipients"), [(name, count) for name, count in report["outcomes"].items() if count])
    time = report["time"]
    click.echo(f"It takes {length(time['seconds'])}, limited by {time['limited_by']}; cost {report['cost']['total']}.")


@command.command("recipients")
@click.argument("campaign_id", type=ID)
@click.option("--state", type=OneOf(MessageState))
@click.option("--code", help="Only those that got nothing for this reason.")
@click.option("--limit", default=30, show_default=True)
@as_json
def recipients_(campaign_id: uuid.UUID, state: str | None, code: str | None, limit: int, as_json: bool) -> None:
    """List recipients in the order in which they are sent to."""
    which = recipients.Which(state=MessageState(state) if state else None, code=code)
    with transaction() as session:
        found = [dump_recipient(row) for row in recipients.listed(session, campaign_id, which, limit=limit)]
    if as_json:
        print_json(found)
        return
    columns = ("position", "contact_id", "state", "forecast", "code", "message_id")
    print_table(columns, [[row[name] for name in columns] for row in found])


@command.command()
@click.argument("campaign_id", type=ID)
def rehearse(campaign_id: uuid.UUID) -> None:
    """Forecast what becomes of each recipient; `crm campaign show` has it in a moment."""
    with transaction() as session:
        rehearsal.ask(session, None, campaign_id, actor=actor())
    ring.flush()
    click.echo(f"{campaign_id} is being rehearsed.")


@command.command("retry-failed")
@click.argument("campaign_id", type=ID)
@click.option("--code", "codes", multiple=True, help="Only those that failed with this code; all by default.")
def retry_failed(campaign_id: uuid.UUID, codes: tuple[str, ...]) -> None:
    """Send again what has failed. What may have arrived is not sent again."""
    with transaction() as session:
        retrying.ask(session, None, campaign_id, codes, actor=actor())
    ring.flush()
    click.echo(f"The failed of {campaign_id} are sent again.")


def _step(name: str, act: Callable[..., Campaign], text: str) -> None:
    def run(campaign_id: uuid.UUID) -> None:
        with transaction() as session:
            campaign = act(session, None, campaign_id, actor=actor())
        ring.flush()
        click.echo(f"{campaign_id} is {campaign.state}.")

    argument = click.Argument(["campaign_id"], type=ID)
    command.add_command(click.Command(name, params=[argument], callback=run, help=text))


_step("start", lifecycle.start, "Start a campaign, or have it start at its time.")
_step("pause", lifecycle.pause, "Stop it within two seconds, until it is resumed.")
_step("resume", lifecycle.resume, "Let a paused campaign go on.")
_step("continue", lifecycle.go_on, "Let a campaign go on that a guard or its budget has halted.")
_step("cancel", lifecycle.cancel, "End it: who was not sent to will not be.")
