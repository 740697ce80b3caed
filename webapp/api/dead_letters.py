"""`/api/v1/dlq`: the dead letters, by cause; retry or discard one, a cause, a task, or all."""

import uuid
from functools import partial
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.core.errors import Invalid
from crm_tasks.core.jobs import dead_letters, repair
from crm_tasks.core.jobs.dead_letters import FASTEST, Spread, Which
from crm_tasks.core.queues import queue_named
from crm_tasks.core.schemas import GroupOut, JobOut, dump_job
from crm_tasks.workspaces import audit
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.api.shapes import GroupPage
from webapp.auth import caller

blueprint = Blueprint("dlq", __name__, description="Dead letters: jobs that wait for a person's decision")
_GROUP = GroupOut()


class WhichArgs(PageArgs):
    """Which dead letters to list."""

    fingerprint = ma.fields.String(load_default=None)
    task = ma.fields.String(load_default=None)
    queue = ma.fields.String(load_default=None)


class WhichIn(ma.Schema):
    """Which dead letters to act on: some condition, or `all`."""

    ids = ma.fields.List(ma.fields.UUID(), load_default=list, validate=ma.validate.Length(max=500))
    fingerprint = ma.fields.String(load_default=None)
    task = ma.fields.String(load_default=None)
    queue = ma.fields.String(load_default=None)
    all = ma.fields.Boolean(load_default=False)


class RetryWhichIn(WhichIn):
    """Which, and how fast."""

    per_minute = ma.fields.Integer(
        load_default=None,
        allow_none=True,
        strict=True,
        validate=ma.validate.Range(1, FASTEST, error=f"Write 1 to {FASTEST}."),
        metadata={"description": "So many a minute go back to their queues; all at once without it"},
    )


class EditIn(ma.Schema):
    """Other arguments; what is left out stays."""

    args = ma.fields.Dict(keys=ma.fields.String(), required=True, validate=ma.validate.Length(min=1))


class ReasonIn(ma.Schema):
    """Why."""

    reason = ma.fields.String(required=True, error_messages={"required": "Say why it will never run."})


class DiscardIn(WhichIn, ReasonIn):
    """Which, and why."""


class StatsOut(ma.Schema):
    """waiting: dead · active: being retried · failed: died again after a retry · completed: retried well."""

    waiting = ma.fields.Integer()
    active = ma.fields.Integer()
    failed = ma.fields.Integer()
    completed = ma.fields.Integer()


class DonePage(ma.Schema):
    """How many were acted on."""

    jobs = ma.fields.Integer()


class DeadPage(Envelope):
    """A page of dead letters."""

    data = ma.fields.List(ma.fields.Nested(JobOut))


@blueprint.route("/dlq/stats")
@blueprint.response(200, StatsOut)
def stats() -> dict[str, int]:
    """Count the dead letters."""
    with transaction() as session:
        return dead_letters.stats(session, caller().sees)


@blueprint.route("/dlq/groups")
@blueprint.alt_response(200, schema=GroupPage)
def groups() -> dict[str, Any]:
    """List the causes, the most frequent first."""
    with transaction() as session:
        found = dead_letters.groups(session, Which(workspace_id=caller().sees))
    return {"data": [_GROUP.dump(group) for group in found], "next": None}


@blueprint.route("/dlq")
@blueprint.arguments(WhichArgs, location="query")
@blueprint.alt_response(200, schema=DeadPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List dead letters, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    limit = args["limit"]
    with transaction() as session:
        rows = dead_letters.listed(session, _which(args), before=before[0] if before else None, limit=limit + 1)
        return page(rows, limit, dump_job, lambda job: (job.id,))


@blueprint.route("/dlq/<uuid:job_id>")
@blueprint.alt_response(200, schema=JobOut)
def get(job_id: uuid.UUID) -> dict[str, Any]:
    """Look at a dead letter."""
    with transaction() as session:
        return dump_job(dead_letters.require_dead(session, job_id, caller().sees))


@blueprint.route("/dlq/<uuid:job_id>/retry", methods=["POST"])
@blueprint.alt_response(200, schema=JobOut)
def retry_one(job_id: uuid.UUID) -> dict[str, Any]:
    """Retry one; a clear refusal if it is not dead."""
    with transaction() as session:
        me = caller()
        return dump_job(repair.retry(session, job_id, actor=me.name, workspace_id=me.sees))


@blueprint.route("/dlq/<uuid:job_id>/discard", methods=["POST"])
@blueprint.arguments(ReasonIn)
@blueprint.alt_response(200, schema=JobOut)
def discard_one(body: dict[str, Any], job_id: uuid.UUID) -> dict[str, Any]:
    """Discard one: it will never run."""
    with transaction() as session:
        me = caller()
        job = repair.discard(session, job_id, actor=me.name, reason=body["reason"], workspace_id=me.sees)
        return dump_job(job)


@blueprint.route("/dlq/<uuid:job_id>", methods=["PATCH"])
@blueprint.arguments(EditIn)
@blueprint.alt_response(200, schema=JobOut)
def edit(body: dict[str, Any], job_id: uuid.UUID) -> dict[str, Any]:
    """Change arguments of one, where its task allows it; it is not retried by that."""
    with transaction() as session:
        me = caller()
        audit.note(session, arguments=sorted(body["args"]))
        return dump_job(repair.edit(session, job_id, body["args"], actor=me.name, workspace_id=me.sees))


@blueprint.route("/dlq/retry", methods=["POST"])
@blueprint.arguments(RetryWhichIn)
@blueprint.response(200, DonePage)
def retry(body: dict[str, Any]) -> dict[str, int]:
    """Retry all that meet the conditions, at once or at so many a minute."""
    which, me = _some(body), caller().name
    spread = Spread(body["per_minute"]) if body["per_minute"] else None
    return {"jobs": dead_letters.in_batches(partial(dead_letters.retry_batch, which=which, actor=me, spread=spread))}


@blueprint.route("/dlq/discard", methods=["POST"])
@blueprint.arguments(DiscardIn)
@blueprint.response(200, DonePage)
def discard(body: dict[str, Any]) -> dict[str, int]:
    """Discard all that meet the conditions: they will never run."""
    which, me = _some(body), caller().name
    return {
        "jobs": dead_letters.in_batches(
            partial(dead_letters.discard_batch, which=which, actor=me, reason=body["reason"])
        )
    }


def _which(args: dict[str, Any]) -> Which:
    return Which(
        workspace_id=caller().sees,
        fingerprint=args["fingerprint"],
        task=args["task"],
        queue=queue_named(args["queue"]) if args["queue"] else None,
        ids=args.get("ids", ()),
    )


def _some(body: dict[str, Any]) -> Which:
    if not body["all"] and not any(body[name] for name in ("ids", "fingerprint", "task", "queue")):
        raise Invalid("Say which dead letters are meant.", hint="Give ids, fingerprint, task or queue, or all: true.")
    return _which(body)
