"""Dead letters by cause: how many, since when, why; five retried as a canary, then all, or discarded with a reason.

Of one: what it was asked, why each attempt failed, what it came from, and what a retry would do now.
"""

import uuid
from functools import partial
from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.core.jobs import dead_letters as letters
from crm_tasks.core.jobs import in_bulk, lineage, registry, repair, ring
from crm_tasks.core.jobs.dead_letters import FASTEST, Spread, Which
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.messages.service import explain
from crm_tasks.workspaces import audit
from webapp.admin import blueprint, masked
from webapp.admin.access import here
from webapp.admin.lists import before

# The longest reason that a job can be given.
SHOWN, CANARY, MOST_REASON = 50, 5, 255


@blueprint.get("/dead-letters")
def dead_letters() -> str:
    """List the causes, the most frequent first."""
    which = Which(workspace_id=here().sees)
    with db.transaction() as session:
        groups, stats = letters.groups(session, which), letters.stats(session, which.workspace_id)
        hours = letters.by_hour(session, which)
    return render_template(
        "admin/dead_letters.html", groups=groups, stats=stats, hours=hours, shown=masked.shower(here())
    )


@blueprint.get("/dead-letters/<fingerprint>")
def dead_group(fingerprint: str) -> str:
    """Show one cause with its jobs, and how the canary does."""
    return _group(fingerprint)


@blueprint.get("/dead-letters/<fingerprint>/canary")
def canary_part(fingerprint: str) -> str:
    """Show how the canary does; the page asks for it every two seconds."""
    with db.transaction() as session:
        return render_template("admin/_canary.html", canary=letters.jobs(session, here().sees, _canary()))


@blueprint.post("/dead-letters/<fingerprint>/canary")
def retry_canary(fingerprint: str) -> ResponseReturnValue:
    """Retry the oldest five."""
    with db.transaction() as session:
        ids = letters.oldest(session, _which(fingerprint), CANARY)
        which = Which(workspace_id=here().sees, ids=ids)
        done = letters.retry_batch(session, which, actor=here().actor) if ids else []
    return redirect(url_for("admin.dead_group", fingerprint=fingerprint, canary=",".join(map(str, done))))


@blueprint.post("/dead-letters/<fingerprint>/retry")
def retry_group(fingerprint: str) -> ResponseReturnValue:
    """Retry all of one cause, at once or at a chosen rate."""
    wanted = request.form.get("per_minute", "").strip()
    if wanted and not (wanted.isascii() and wanted.isdecimal() and 1 <= int(wanted[:9]) <= FASTEST):
        return _group(fingerprint, f"A rate is a number from 1 to {FASTEST} a minute, or nothing for all at once."), 422
    if job_id := _by_a_job(fingerprint, per_minute=int(wanted or 0)):
        return redirect(url_for("admin.job", job_id=job_id))
    spread = Spread(int(wanted)) if wanted else None
    letters.in_batches(partial(letters.retry_batch, which=_which(fingerprint), actor=here().actor, spread=spread))
    ring.flush()
    return redirect(url_for("admin.dead_letters"))


@blueprint.post("/dead-letters/<fingerprint>/discard")
def discard_group(fingerprint: str) -> ResponseReturnValue:
    """Decide that none of one cause will ever run."""
    reason = request.form.get("reason", "").strip()[:MOST_REASON]
    if reason and (job_id := _by_a_job(fingerprint, reason=reason)):
        return redirect(url_for("admin.job", job_id=job_id))
    try:
        letters.in_batches(partial(letters.discard_batch, which=_which(fingerprint), actor=here().actor, reason=reason))
    except DomainError as error:
        return _group(fingerprint, error.message), 422
    return redirect(url_for("admin.dead_letters"))


@blueprint.get("/dead-letters/job/<uuid:job_id>")
def dead_letter(job_id: uuid.UUID) -> ResponseReturnValue:
    """Show one; one that was dealt with meanwhile is shown as the job that it is."""
    return _letter(job_id)


@blueprint.post("/dead-letters/job/<uuid:job_id>/arguments")
def edit_dead_letter(job_id: uuid.UUID) -> ResponseReturnValue:
    """Show what would be changed of its arguments, then change it, then retry it if that is wanted."""
    me, sure = here(), request.form.get("sure", "")
    try:
        with db.transaction() as session:
            changes = _changes(letters.require_dead(session, job_id, me.sees))
            if sure and changes:
                audit.note(session, arguments=sorted(changes))
                repair.edit(session, job_id, changes, actor=me.actor, workspace_id=me.sees)
            if sure == "retry":
                repair.retry(session, job_id, actor=me.actor, workspace_id=me.sees)
    except NotFound:
        raise
    except DomainError as error:
        told = [error.message, *(f"{each.field}: {each.message}" for each in error.fields)]
        return _letter(job_id, problem=" ".join(told), status=422)
    if sure:
        return redirect(url_for("admin.dead_letter", job_id=job_id))
    return _letter(job_id, changes=changes, problem="" if changes else "Nothing would be changed.")


def _letter(
    job_id: uuid.UUID, *, changes: dict[str, Any] | None = None, problem: str = "", status: int = 200
) -> ResponseReturnValue:
    me = here()
    with db.transaction() as session:
        found = repair.get(session, job_id, workspace_id=me.sees)
        if found.state is not JobState.DEAD:
            return redirect(url_for("admin.job", job_id=job_id))
        page = render_template(
            "admin/dead_letter.html",
            job=found,
            args=masked.args(found, personal=me.may("personal")),
            personal=me.may("personal"),
            shown=masked.shower(me),
            obstacles=explain.retried(session, found),
            tree=lineage.tree(session, found),
            editable={name: _written(found.args.get(name)) for name in registry.editable(found.task)},
            changes=changes,
            problem=problem,
        )
    return page, status


def _changes(job: Job) -> dict[str, Any]:
    """Return the arguments that the form gives another value."""
    given = {name: _read(job.args.get(name), request.form[name]) for name in job.args if name in request.form}
    return {name: value for name, value in given.items() if value != job.args[name]}


def _written(value: Any) -> str:
    """Return a value as the form has it: a list has a line for each, a truth value is yes or no."""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _read(was: Any, text: str) -> Any:
    """Return what somebody wrote as a value like the one there was; what cannot be one stays a text."""
    text = text.strip()
    if isinstance(was, list):
        return [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(was, bool):
        return {"yes": True, "no": False}.get(text.lower(), text)
    is_number = isinstance(was, int) and text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 19
    return int(text) if is_number else text


def _which(fingerprint: str) -> Which:
    return Which(workspace_id=here().sees, fingerprint=fingerprint)


def _by_a_job(fingerprint: str, **how: Any) -> uuid.UUID | None:
    with db.transaction() as session:
        return in_bulk.ask(session, _which(fingerprint), fingerprint, actor=here().actor, **how)


def _group(fingerprint: str, problem: str = "") -> str:
    which, canary = _which(fingerprint), _canary()
    with db.transaction() as session:
        found = letters.groups(session, which)
        tried = letters.jobs(session, which.workspace_id, canary)
        if not found and not tried:
            raise NotFound("There are no dead letters of this cause.", hint="They may have been dealt with.")
        jobs = letters.listed(session, which, before=before(), limit=SHOWN + 1)
        hours = letters.by_hour(session, which)
    return render_template(
        "admin/dead_group.html",
        fingerprint=fingerprint,
        group=found[0] if found else None,
        jobs=jobs[:SHOWN],
        more=jobs[SHOWN - 1].id if len(jobs) > SHOWN else None,
        canary=tried,
        hours=hours,
        problem=problem,
        shown=masked.shower(here()),
    )


def _canary() -> list[uuid.UUID]:
    """Return the jobs of the canary that the address names."""
    named = [text for text in request.args.get("canary", "").split(",") if text][:CANARY]
    try:
        return [uuid.UUID(text) for text in named]
    except ValueError:
        raise NotFound("There are no such jobs.") from None
