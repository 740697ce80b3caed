"""Jobs, holds and dead letters as JSON."""

from typing import Any

import marshmallow as ma

from crm_tasks.core.jobs.model import Job


class JobOut(ma.Schema):
    """A job: what is to be done, how far it is, what went wrong so far."""

    id = ma.fields.UUID()
    task = ma.fields.String()
    queue = ma.fields.String()
    args = ma.fields.Dict()
    workspace_id = ma.fields.UUID(allow_none=True)
    scopes = ma.fields.List(ma.fields.String())
    priority = ma.fields.Integer()
    state = ma.fields.String()
    attempt = ma.fields.Integer()
    max_attempts = ma.fields.Integer()
    crashes = ma.fields.Integer()
    run_at = ma.fields.AwareDateTime()
    held_by = ma.fields.String(allow_none=True)
    worker = ma.fields.String(allow_none=True)
    created_at = ma.fields.AwareDateTime()
    started_at = ma.fields.AwareDateTime(allow_none=True)
    finished_at = ma.fields.AwareDateTime(allow_none=True)
    parent_id = ma.fields.UUID(allow_none=True)
    trace_id = ma.fields.UUID(allow_none=True)
    progress = ma.fields.Dict(allow_none=True)
    result = ma.fields.Raw(allow_none=True)
    errors = ma.fields.List(ma.fields.Dict())
    fingerprint = ma.fields.String(allow_none=True)
    revivals = ma.fields.Integer()
    reason = ma.fields.String(allow_none=True)


class HoldIn(ma.Schema):
    """What to stop."""

    scope = ma.fields.String(
        required=True,
        error_messages={"required": "Name what to stop: all, queue:…, task:…, workspace:…, channel:…, endpoint:…"},
    )
    reason = ma.fields.String(required=True, error_messages={"required": "Say why, so that others know."})
    expires_at = ma.fields.AwareDateTime(load_default=None)


class HoldOut(ma.Schema):
    """A hold, and how many jobs wait behind it."""

    id = ma.fields.UUID()
    scope = ma.fields.String()
    reason = ma.fields.String()
    actor = ma.fields.String()
    workspace_id = ma.fields.UUID(allow_none=True)
    created_at = ma.fields.AwareDateTime()
    expires_at = ma.fields.AwareDateTime(allow_none=True)
    released_at = ma.fields.AwareDateTime(allow_none=True)
    released_by = ma.fields.String(allow_none=True)
    held_jobs = ma.fields.Integer()


class GroupOut(ma.Schema):
    """Dead letters of one cause."""

    fingerprint = ma.fields.String()
    jobs = ma.fields.Integer()
    tasks = ma.fields.List(ma.fields.String())
    queues = ma.fields.List(ma.fields.String())
    first_at = ma.fields.AwareDateTime()
    last_at = ma.fields.AwareDateTime()
    error = ma.fields.Dict()
    example_id = ma.fields.UUID()


_JOB = JobOut()


def dump_job(job: Job) -> dict[str, Any]:
    """Return a job as JSON."""
    return _JOB.dump(job)
