"""`crm job`."""

import uuid

import click

import crm_tasks.celery  # noqa: F401  what can be enqueued and rung, and the broker it goes to
from crm_tasks.cli.shown import ID, OneOf, actor, as_json, moment, print_json, print_table
from crm_tasks.core import overview
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import repair, ring
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.queues import queue_named
from crm_tasks.core.schemas import dump_job
from crm_tasks.messages.service import explain as explaining


@click.group()
def command() -> None:
    """Jobs: every accepted piece of work."""


@command.command("list")
@click.option("--state", type=OneOf(JobState), multiple=True)
@click.option("--queue")
@click.option("--task")
@click.option("--workspace", type=ID)
@click.option("--limit", default=30, show_default=True)
@as_json
def list_(
    state: tuple[str, ...], queue: str | None, task: str | None, workspace: uuid.UUID | None, limit: int, as_json: bool
) -> None:
    """List jobs, the newest first."""
    with transaction() as session:
        jobs = overview.listed(
            session,
            workspace_id=workspace,
            states=[JobState(each) for each in state],
            queue=queue_named(queue) if queue else None,
            task=task,
            limit=limit,
        )
    if as_json:
        print_json([dump_job(job) for job in jobs])
    else:
        print_jobs(jobs)


def print_jobs(jobs: list[Job]) -> None:
    """Print jobs as a table."""
    print_table(
        ("id", "task", "state", ">attempt", "run at", "last error"),
        [
            (
                job.id,
                job.task,
                job.state + (" (held)" if job.held_by else ""),
                f"{job.attempt}/{job.max_attempts}",
                moment(job.run_at),
                job.errors[-1].get("message", "")[:60] if job.errors else "",
            )
            for job in jobs
        ],
        empty="No such jobs.",
    )


@command.command()
@click.argument("job_id", type=ID)
def show(job_id: uuid.UUID) -> None:
    """Show one job, whole."""
    with transaction() as session:
        print_json(dump_job(repair.get(session, job_id)))


@command.command()
@click.argument("job_id", type=ID)
@as_json
def explain(job_id: uuid.UUID, as_json: bool) -> None:
    """Say why a job waits, or what happened, step by step."""
    with transaction() as session:
        told = explaining.job(session, job_id)
    if as_json:
        print_json(told.as_json())
        return
    click.echo(told.summary)
    print_table(
        ("gate", "reason", "set by", "until", "what to do"),
        [(r.gate, r.text, r.set_by, moment(r.until), r.remedy) for r in told.reasons],
        empty="Nothing holds it up.",
    )
    if told.place is not None:
        start = told.place.predicted_start
        click.echo(f"{told.place.ahead} before it" + (f"; may start at {moment(start)}." if start else "."))
    print_table(
        ("at", "what", "detail"), [(moment(s.at), s.what, s.detail) for s in told.story], empty="Nothing happened yet."
    )


@command.command()
@click.argument("job_id", type=ID)
@click.option("--reason", default="")
def cancel(job_id: uuid.UUID, reason: str) -> None:
    """Cancel a job that waits or runs."""
    with transaction() as session:
        job = repair.cancel(session, job_id, actor=actor(), reason=reason)
    click.echo(f"{job.id} is {job.state}.")


@command.command()
@click.argument("job_id", type=ID)
def retry(job_id: uuid.UUID) -> None:
    """Send a dead job back to its queue."""
    with transaction() as session:
        job = repair.retry(session, job_id, actor=actor())
    ring.flush()
    click.echo(f"{job.id} is {job.state}.")


@command.command("run-now")
@click.argument("job_id", type=ID)
def run_now(job_id: uuid.UUID) -> None:
    """Bring a delayed job forward."""
    with transaction() as session:
        job = repair.run_now(session, job_id, actor=actor())
    ring.flush()
    click.echo(f"{job.id} is due since {moment(job.run_at)}.")
