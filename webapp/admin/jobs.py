"""Jobs: found by id, task, queue or state; a page for each that says why it waits and what can be done."""

import uuid

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db, overview
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.queues import Queue
from crm_tasks.messages.service import explain
from webapp.admin import blueprint, masked
from webapp.admin.access import here
from webapp.admin.lists import before

SHOWN = 50


@blueprint.get("/jobs")
def jobs() -> ResponseReturnValue:
    """List jobs, the newest first; one that is asked for by its id is shown."""
    asked = {name: request.args.get(name, "").strip() for name in ("id", "task", "queue", "state")}
    if asked["id"]:
        return redirect(url_for("admin.job", job_id=_id(asked["id"])))
    with db.transaction() as session:
        found = overview.listed(
            session,
            workspace_id=here().sees,
            states=[JobState(asked["state"])] if asked["state"] in set(JobState) else [],
            queue=asked["queue"] or None,
            task=asked["task"] or None,
            before=before(),
            limit=SHOWN + 1,
        )
    more = found[SHOWN - 1].id if len(found) > SHOWN else None
    return render_template(
        "admin/jobs.html", jobs=found[:SHOWN], more=more, asked=asked, queues=list(Queue), states=list(JobState)
    )


@blueprint.get("/jobs/<uuid:job_id>")
def job(job_id: uuid.UUID) -> str:
    """Show one: why it waits, what went wrong, what happened before and after."""
    return _page(job_id)


@blueprint.post("/jobs/<uuid:job_id>/<action>")
def job_action(job_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Cancel, retry, discard, run now."""
    me, reason = here(), request.form.get("reason", "")
    try:
        with db.transaction() as session:
            if action == "cancel":
                repair.cancel(session, job_id, actor=me.actor, reason=reason, workspace_id=me.sees)
            elif action == "retry":
                repair.retry(session, job_id, actor=me.actor, workspace_id=me.sees)
            elif action == "discard":
                repair.discard(session, job_id, actor=me.actor, reason=reason, workspace_id=me.sees)
            elif action == "run-now":
                repair.run_now(session, job_id, actor=me.actor, workspace_id=me.sees)
            else:
                raise NotFound("There is no such button.")
    except DomainError as error:
        if isinstance(error, NotFound):
            raise
        return _page(job_id, error.message), 409
    return redirect(url_for("admin.job", job_id=job_id))


def _page(job_id: uuid.UUID, problem: str = "") -> str:
    me = here()
    personal = me.may("personal")
    with db.transaction() as session:
        found = repair.get(session, job_id, workspace_id=me.sees)
        told = explain.job(session, job_id, workspace_id=me.sees)
    return render_template(
        "admin/job.html",
        job=found,
        args=masked.args(found, personal=personal),
        told=told,
        personal=personal,
        shown=masked.shower(me),
        problem=problem,
    )


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"{text[:50]!r} is not the id of a job.", hint="Ids look like 01a2b3c4-….") from None
