"""Jobs: found by what is known of them; a page for each that says why it waits and what can be done."""

import uuid

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs import search as searching
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.jobs.search import Wanted
from crm_tasks.core.queues import Queue
from crm_tasks.messages.service import explain
from crm_tasks.messages.service import jobs as of_messages
from webapp import flower
from webapp.admin import blueprint, masked
from webapp.admin.access import here
from webapp.admin.forms import asked
from webapp.admin.lists import before

SHOWN = 50
_FILTERS = ("id", "task", "queue", "state", "error", "contact", "workspace")


@blueprint.get("/jobs")
def jobs() -> ResponseReturnValue:
    """List jobs, the newest first; one that is asked for by its id is shown."""
    wanted, me = asked(*_FILTERS), here()
    if wanted["id"]:
        return redirect(url_for("admin.job", job_id=_id(wanted["id"])))
    with db.transaction() as session:
        found = searching.search(session, _wanted(session, wanted), before=before(), limit=SHOWN)
    return render_template(
        "admin/jobs.html",
        jobs=found.jobs,
        more=found.more,
        full=len(found.jobs) == SHOWN,
        asked=wanted,
        queues=list(Queue),
        states=list(JobState),
        places=me.places if me.wide else [],
        personal=me.may("personal"),
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
        flower=flower.url(f"task/{job_id}") if me.operator else None,
    )


def _wanted(session: Session, given: dict[str, str]) -> Wanted:
    """Return what the filters ask for. What is about single customers, only who may see it can ask for."""
    me = here()
    personal, ids = me.may("personal"), None
    if personal and given["contact"] and me.place is not None:
        ids = of_messages.of_person(session, me.workspace_id, given["contact"])
    return Wanted(
        workspace_id=_id(given["workspace"]) if me.wide and given["workspace"] else me.sees,
        state=JobState(given["state"]) if given["state"] in set(JobState) else None,
        queue=given["queue"] or None,
        task=given["task"] or None,
        ids=ids,
        error=given["error"] or None,
        words=personal,
    )


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"{text[:50]!r} is not an id.", hint="Ids look like 01a2b3c4-….") from None
