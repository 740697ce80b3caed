"""`crm dlq`."""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from crm_tasks.cli.job import print_jobs
from crm_tasks.cli.shown import ID, actor, as_json, moment, print_json, print_table
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs import dead_letters, ring
from crm_tasks.core.jobs.dead_letters import FASTEST, Spread, Which
from crm_tasks.core.queues import queue_named
from crm_tasks.core.schemas import GroupOut, dump_job


@click.group()
def command() -> None:
    """Dead letters: jobs that wait for a person's decision."""


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("ids", type=ID, nargs=-1),
        click.option("--fingerprint", help="All of one cause (see `crm dlq list`)."),
        click.option("--task", help="All of one task."),
        click.option("--queue", help="All of one queue."),
        click.option("--all", "everything", is_flag=True, help="All there are."),
    ):
        function = option(function)
    return function


def _which(
    ids: tuple[uuid.UUID, ...], fingerprint: str | None, task: str | None, queue: str | None, all_: bool
) -> Which:
    if not (ids or fingerprint or task or queue or all_):
        raise Invalid("Say which dead letters are meant.", hint="Give ids, --fingerprint, --task, --queue or --all.")
    return Which(ids=ids, fingerprint=fingerprint, task=task, queue=queue_named(queue) if queue else None)


@command.command()
@as_json
def stats(as_json: bool) -> None:
    """Count them: waiting, being retried, died again, retried well."""
    with transaction() as session:
        found = dead_letters.stats(session)
    if as_json:
        print_json(found)
    else:
        print_table([f">{name}" for name in found], [list(found.values())])


@command.command("list")
@click.option("--fingerprint", help="Show the jobs of one cause.")
@as_json
def list_(fingerprint: str | None, as_json: bool) -> None:
    """List the causes, the most frequent first; with --fingerprint, the jobs of one."""
    with transaction() as session:
        if fingerprint:
            jobs = dead_letters.listed(session, Which(fingerprint=fingerprint), limit=200)
            print_json([dump_job(job) for job in jobs]) if as_json else print_jobs(jobs)
            return
        groups = dead_letters.groups(session)
    if as_json:
        print_json([GroupOut().dump(group) for group in groups])
        return
    print_table(
        ("fingerprint", ">jobs", "tasks", "first", "last", "error"),
        [
            (g.fingerprint, g.jobs, ", ".join(g.tasks), moment(g.first_at), moment(g.last_at), _cause(g.error))
            for g in groups
        ],
        empty="No dead letters.",
    )


def _cause(error: dict[str, Any]) -> str:
    return f"{error.get('class', '')}: {error.get('message', '')}"[:80]


@command.command()
@click.argument("job_id", type=ID)
def show(job_id: uuid.UUID) -> None:
    """Show one, with every attempt's error."""
    with transaction() as session:
        print_json(dump_job(dead_letters.require_dead(session, job_id)))


@command.command()
@_chosen
@click.option("--per-minute", type=click.IntRange(1, FASTEST), help="So many a minute; all at once without it.")
def retry(
    ids: tuple[uuid.UUID, ...],
    fingerprint: str | None,
    task: str | None,
    queue: str | None,
    everything: bool,
    per_minute: int | None,
) -> None:
    """Send them back to their queues. What is not dead is refused."""
    which = _which(ids, fingerprint, task, queue, everything)
    _refuse_living(ids)
    spread = Spread(per_minute) if per_minute else None
    jobs = dead_letters.in_batches(partial(dead_letters.retry_batch, which=which, actor=actor(), spread=spread))
    ring.flush()
    click.echo(f"{jobs} retried.")


@command.command()
@_chosen
@click.option("--reason", required=True, help="Why they will never run.")
def discard(
    ids: tuple[uuid.UUID, ...],
    fingerprint: str | None,
    task: str | None,
    queue: str | None,
    everything: bool,
    reason: str,
) -> None:
    """Decide that they will never run."""
    which = _which(ids, fingerprint, task, queue, everything)
    _refuse_living(ids)
    jobs = dead_letters.in_batches(partial(dead_letters.discard_batch, which=which, actor=actor(), reason=reason))
    click.echo(f"{jobs} discarded.")


def _refuse_living(ids: tuple[uuid.UUID, ...]) -> None:
    with transaction() as session:
        for job_id in ids:
            dead_letters.require_dead(session, job_id)
