"""Dead letters by cause: how many, since when, why; five retried as a canary, then all, or discarded with a reason."""

import uuid
from functools import partial

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, NotFound
from crm_tasks.core.jobs import dead_letters as letters
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.dead_letters import Which
from webapp.admin import blueprint, masked
from webapp.admin.access import here
from webapp.admin.lists import before

SHOWN, CANARY = 50, 5


@blueprint.get("/dead-letters")
def dead_letters() -> str:
    """List the causes, the most frequent first."""
    which = Which(workspace_id=here().sees)
    with db.transaction() as session:
        groups, stats = letters.groups(session, which), letters.stats(session, which.workspace_id)
    return render_template("admin/dead_letters.html", groups=groups, stats=stats, shown=masked.shower(here()))


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
    """Retry all of one cause."""
    letters.in_batches(partial(letters.retry_batch, which=_which(fingerprint), actor=here().actor))
    ring.flush()
    return redirect(url_for("admin.dead_letters"))


@blueprint.post("/dead-letters/<fingerprint>/discard")
def discard_group(fingerprint: str) -> ResponseReturnValue:
    """Decide that none of one cause will ever run."""
    reason = request.form.get("reason", "")
    try:
        letters.in_batches(partial(letters.discard_batch, which=_which(fingerprint), actor=here().actor, reason=reason))
    except DomainError as error:
        return _group(fingerprint, error.message), 422
    return redirect(url_for("admin.dead_letters"))


def _which(fingerprint: str) -> Which:
    return Which(workspace_id=here().sees, fingerprint=fingerprint)


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
