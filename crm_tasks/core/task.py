"""The base task: claim, run, and exactly one outcome. No task has a retry, a `bind` or a `try` for retry's sake.

A task returns (succeeded), or raises `Snooze`, `Transient`, `Permanent`, or anything else (retried like Transient).
"""

import inspect
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Task
from celery.exceptions import Ignore, Retry
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, metrics, pace, pulse
from crm_tasks.core.errors import BadArguments, Cancelled, LeaseLost, NotFound, Snooze, TimeLimit
from crm_tasks.core.jobs import claim as claims
from crm_tasks.core.jobs import registry
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.queues import queue_of

log = get_logger(__name__)
T = TypeVar("T")

# Tells a domain row that its job left without success: (session, new state, error or None, **the job's arguments).
Follow = Callable[..., None]
_PROGRESS_EVERY = 1.0
# What `apply_async` understands; Celery passes the rest as empty values.
_OPTIONS = {"eta", "countdown", "priority", "ignore_result"}


class DeadJob(Exception):
    """What Celery is told of a failure; the ledger has the error itself."""


class CRMTask(Task):
    """Base of every task. `follow` keeps its domain row in step when the job leaves without success."""

    abstract = True
    acks_late = False
    ignore_result = True
    max_retries = None
    follow: Follow | None = None
    # Which arguments a person may change before a dead job is retried.
    editable: tuple[str, ...] = ()

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Accept a job in a transaction of its own: `delay()` from a shell makes a row like every other.

        Raises:
            UnknownTask, BadArguments: also for `link`, chains and groups, which would bypass the ledger.
        """
        if unknown := {name for name, value in options.items() if value} - _OPTIONS:
            raise BadArguments(f"{self.name}: the ledger does not know {', '.join(sorted(unknown))}.")
        job_id = db.retrying(_accept, self.name, _by_name(self, args or (), kwargs or {}), options)
        return self.AsyncResult(str(job_id))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the job that a ring announced; called from plain code, run the function."""
        request = self.request
        if request.called_directly or request.is_eager:
            return self.run(*args, **kwargs)
        try:
            job_id = registry.job_id(request.id or "")
        except NotFound:
            claims.not_in_ledger(request.id or "")
            raise Ignore from None
        beat = pulse.current() or pulse.start(
            pulse.Identity(kind="child", name=request.hostname or "worker"), over_limit
        )
        claim = claims.claim(job_id, queue=queue_of(self.name), worker=beat.name)
        if claim is None:
            raise Ignore
        _run(self if claim.task == self.name else registry.task_named(claim.task), claim, beat)
        return None


# --- what a task's body uses -------------------------------------------------------------------------------------


def job() -> Claim:
    """Return the job at hand.

    Raises:
        LookupError: not called from a task.
    """
    claim = claims.current.get()
    if claim is None:
        raise LookupError("There is no job here: this function belongs in a task.")
    return claim


@contextmanager
def finishing(result: Any = None) -> Iterator[Session]:
    """Open the job's last transaction: its effect and its success are committed together, or neither.

    A lost claim rolls it back: another claim does that work now. What has already happened in the outside world is
    a fact and goes through `record`.
    """
    claim = job()
    try:
        with db.transaction() as session:
            yield session
            claims.finish_or_lose(session, claim, result)
    except BaseException:
        claim.finished = False
        raise


def record(write: Callable[[Session], Any], result: Any = None) -> None:
    """Write facts and the job's success together; repeated until Postgres has them, committed even by a lost claim."""
    claim = job()

    def attempt() -> None:
        claim.finished = False
        with db.transaction() as session:
            write(session)
            claims.finish(session, claim, result)

    until_stored(attempt)


def until_stored(write: Callable[[], T]) -> T:
    """Repeat a write until Postgres takes it: what a job has come to must not be forgotten."""
    claim = claims.current.get()
    try:
        while True:
            try:
                return write()
            except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
                if not db.is_transient(error):
                    raise
                log.warning("job.outcome_waits", error=type(error).__name__)
            if claim is not None:
                claim.storing = True
            time.sleep(1.0)
    finally:
        if claim is not None:
            claim.storing = False


def check() -> None:
    """Stop here if the job was cancelled or taken over.

    Raises:
        Cancelled: so that a long task ends early; the base task takes it from there.
    """
    if job().lost:
        raise Cancelled("cancelled or taken over while it ran")


def progress(done: int, total: int | None = None, note: str = "") -> None:
    """Show how far the job is, at most once a second, and stop it if it was cancelled."""
    check()
    claim = job()
    if claim.progress_at + _PROGRESS_EVERY <= time.monotonic() or done == total:
        claim.progress_at = time.monotonic()
        claims.show_progress(claim, {"done": done, "total": total, "note": note})


def advanced() -> None:
    """Say that a step of a long job is kept. A job is poison if workers die of the same step again and again; one that
    gets on is not, however often it is cut off.
    """
    claim = job()
    if claim.crashes:
        claims.forget_crashes(claim)


# --- what the base does ------------------------------------------------------------------------------------------


def _run(task: CRMTask, claim: Claim, beat: pulse.Pulse) -> None:
    beat.track(claim)
    try:
        with claims.acting_for(claim):
            _outcome(task, claim)
    finally:
        beat.untrack(claim)


def _outcome(task: CRMTask, claim: Claim) -> None:
    log.info("job.started", attempt=claim.attempt + 1, claim_no=claim.claim_no, worker=claim.worker)
    try:
        if wait := pace.wait_for_job(claim.queue, claim.task, claim.priority):
            raise Snooze(wait, "the rate of its queue or task", code="pace")
        result = task.run(**claim.args)
        if not claim.finished:
            until_stored(lambda: _finish(claim, result))
    except SoftTimeLimitExceeded:
        _left(claim, TimeLimit(f"ran longer than {settings().queues[claim.queue].time_limit:g} s"))
    except Exception as error:  # noqa: BLE001  whatever a task raises is an outcome
        _left(claim, error)
    claims.wake_next(claim)
    if not claim.finished:
        raise Ignore
    metrics.count("jobs_succeeded")
    log.info("job.succeeded", ms=_ms(claim))


def _finish(claim: Claim, result: Any) -> None:
    with db.autocommit() as connection:
        claims.finish(connection, claim, result)


def _left(claim: Claim, error: Exception) -> None:
    """Write how the job left, tell Celery the same, so that Flower shows what the ledger says."""
    if claim.finished:
        # Its last transaction is committed: the effect stands, so the job has succeeded whatever came after.
        log.error("job.failed_after_finish", error=type(error).__name__)
        return
    if claim.lost or isinstance(error, LeaseLost | Cancelled):
        log.info("job.given_up", ms=_ms(claim), reason=str(error))
        claims.wake_next(claim)
        raise Ignore from None
    try:
        how = give_back(claim, error)
    except Exception:
        # Its lease runs out, and the scheduler takes it back; but a room whose `follow` fails has to be mended.
        log.exception("job.outcome_not_written", error=type(error).__name__)
        raise
    claims.wake_next(claim)
    if how is None:
        raise Ignore from None
    # What Flower shows comes through Redis: the cause, and nothing of what the error says about people.
    cause = getattr(error, "code", "") or type(error).__name__
    if how is JobState.DEAD:
        raise DeadJob(cause) from None
    raise Retry(cause, exc=DeadJob(cause)) from None


def give_back(claim: Claim, error: BaseException) -> JobState | None:
    """Move a job that did not succeed, and its domain row with it; None if another claim owns it by now."""
    how = claims.plan(claim, error)

    def write() -> datetime | None:
        try:
            with db.transaction() as session:
                registry.follow(session, claim.task, how.state, error, claim.args)
                moment = claims.leave(session, claim, how)
                if moment is None:
                    raise LeaseLost
                return moment
        except LeaseLost:
            claims.fenced(claim, how.state)
            return None

    moment = until_stored(write)
    if moment is None:
        return None
    _say(claim, how, error, moment)
    return how.state


def over_limit(claim: Claim) -> None:
    """End a job that runs past its limit: one attempt used; whatever its thread still brings is fenced."""
    limit = settings().queues[claim.queue].time_limit
    give_back(claim, TimeLimit(f"ran longer than {limit:g} s", code="time_limit"))


def _say(claim: Claim, how: claims.Leave, error: BaseException, moment: datetime) -> None:
    facts: dict[str, Any] = {"ms": _ms(claim), "error": type(error).__name__, "code": getattr(error, "code", "")}
    if how.state is JobState.DEAD:
        metrics.count("jobs_dead")
        log.error("job.dead", attempt=claim.attempt + 1, fingerprint=how.fingerprint, **facts)
    elif how.failures:
        metrics.count("jobs_retried")
        log.warning("job.retry", attempt=claim.attempt + 1, of=claim.max_attempts, at=moment.isoformat(), **facts)
    else:
        metrics.count("jobs_snoozed")
        log.info(
            "job.snoozed",
            until=moment.isoformat(),
            reason=str(error) if isinstance(error, Snooze) else "",
            **facts,
        )


def _accept(session: Session, name: str, args: dict[str, Any], options: Mapping[str, Any]) -> uuid.UUID:
    run_at = options.get("eta")
    if options.get("countdown"):
        run_at = session.scalar(sa.select(db.now() + timedelta(seconds=options["countdown"])))
    return enqueue(session, name, args=args, run_at=run_at, priority=options.get("priority") or 5)


def _by_name(task: CRMTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return inspect.signature(task.run).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise BadArguments(f"{task.name} does not take these arguments: {error}.") from None


def _ms(claim: Claim) -> int:
    return round((time.monotonic() - claim.claimed) * 1000)
