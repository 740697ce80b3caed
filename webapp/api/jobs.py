"""`/api/v1/jobs`: every job there is; cancel one, retry one, run one now."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core import overview
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.queues import queue_named
from crm_tasks.core.schemas import JobOut, dump_job
from crm_tasks.messages.service import explain
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.api.shapes import ExplanationOut
from webapp.auth import caller

blueprint = Blueprint("jobs", __name__, description="The ledger of jobs")


class JobArgs(PageArgs):
    """Which jobs."""

    state = ma.fields.String(
        load_default=None,
        validate=ma.validate.OneOf(list(JobState), error=f"Use one of: {', '.join(JobState)}."),
    )
    queue = ma.fields.String(load_default=None)
    task = ma.fields.String(load_default=None)


class JobPage(Envelope):
    """A page of jobs."""

    data = ma.fields.List(ma.fields.Nested(JobOut))


class CancelIn(ma.Schema):
    """Why."""

    reason = ma.fields.String(load_default="")


@blueprint.route("/jobs")
@blueprint.arguments(JobArgs, location="query")
@blueprint.alt_response(200, schema=JobPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List jobs, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    limit = args["limit"]
    with transaction() as session:
        rows = overview.listed(
            session,
            workspace_id=caller().sees,
            states=[JobState(args["state"])] if args["state"] else [],
            queue=queue_named(args["queue"]) if args["queue"] else None,
            task=args["task"],
            before=before[0] if before else None,
            limit=limit + 1,
        )
        return page(rows, limit, dump_job, lambda job: (job.id,))


@blueprint.route("/jobs/<uuid:job_id>")
@blueprint.alt_response(200, schema=JobOut)
def get(job_id: uuid.UUID) -> dict[str, Any]:
    """Look at a job."""
    with transaction() as session:
        return dump_job(repair.get(session, job_id, workspace_id=caller().sees))


@blueprint.route("/jobs/<uuid:job_id>/explain")
@blueprint.alt_response(200, schema=ExplanationOut)
def explained(job_id: uuid.UUID) -> dict[str, Any]:
    """Say why a job waits, by which gate and until when; or what happened, step by step."""
    with transaction() as session:
        return ExplanationOut().dump(explain.job(session, job_id, workspace_id=caller().sees))


@blueprint.route("/jobs/<uuid:job_id>/cancel", methods=["POST"])
@blueprint.arguments(CancelIn, required=False)
@blueprint.alt_response(200, schema=JobOut)
def cancel(body: dict[str, Any], job_id: uuid.UUID) -> dict[str, Any]:
    """Cancel a job that waits or runs."""
    with transaction() as session:
        me = caller()
        job = repair.cancel(session, job_id, actor=me.name, reason=body["reason"], workspace_id=me.sees)
        return dump_job(job)


@blueprint.route("/jobs/<uuid:job_id>/retry", methods=["POST"])
@blueprint.alt_response(200, schema=JobOut)
def retry(job_id: uuid.UUID) -> dict[str, Any]:
    """Send a dead job back to its queue."""
    with transaction() as session:
        me = caller()
        return dump_job(repair.retry(session, job_id, actor=me.name, workspace_id=me.sees))


@blueprint.route("/jobs/<uuid:job_id>/run-now", methods=["POST"])
@blueprint.alt_response(200, schema=JobOut)
def run_now(job_id: uuid.UUID) -> dict[str, Any]:
    """Bring a delayed job forward."""
    with transaction() as session:
        me = caller()
        return dump_job(repair.run_now(session, job_id, actor=me.name, workspace_id=me.sees))
