"""The way through a worker: claim, then exactly one of finish, snooze, retry, die. Every transition is fenced.

Facts about the outside world are written whether or not the claim still holds; the job's own state, and anything new
it starts, only under its `claim_no`.
"""

import random
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, metrics
from crm_tasks.core.errors import LeaseLost, Permanent, Snooze, Transient
from crm_tasks.core.fingerprint import fingerprint, record
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.model import MAX_ERRORS, JobState
from crm_tasks.core.log import get_logger

log = get_logger(__name__)
_MAX_RESULT = 4_000


@dataclass(slots=True, kw_only=True)
class Claim:
    """One claim of one job by this process. `claim_no` is its fence."""

    id: uuid.UUID
    task: str
    queue: str
    priority: int
    args: dict[str, Any]
    workspace_id: uuid.UUID | None
    claim_no: int
    attempt: int
    max_attempts: int
    serial_key: str | None
    trace_id: uuid.UUID | None
    worker: str
    # Seconds of this process's monotonic clock.
    claimed: float = field(default_factory=time.monotonic)
    lease_end: float = 0.0
    progress_at: float = 0.0
    lost: bool = False
    finished: bool = False

    def holds_for(self, seconds: float) -> bool:
        """Say whether the lease surely lasts so long: asked just before a request leaves."""
        return not self.lost and time.monotonic() + seconds < self.lease_end


current: ContextVar[Claim | None] = ContextVar("current_claim", default=None)

_HOLDS = """
    SELECT 1 FROM holds h
    WHERE h.released_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > crm_now())
      AND h.scope = ANY(ARRAY['all', 'queue:' || j.queue, 'task:' || j.task, 'workspace:' || j.workspace_id] || j.scopes)
"""
_CLAIM = sa.text(f"""
    UPDATE jobs j
    SET state = 'running', claim_no = j.claim_no + 1, started_at = crm_now(), worker = :worker,
        lease_until = now() + make_interval(secs => :lease), key_was = coalesce(j.unique_key, j.key_was), unique_key = NULL
    WHERE j.id = :id AND j.state = 'queued' AND j.run_at <= crm_now() AND NOT EXISTS ({_HOLDS})
      AND (j.serial_key IS NULL OR NOT EXISTS (
            SELECT 1 FROM jobs earlier
            WHERE earlier.serial_key = j.serial_key AND earlier.state = 'queued' AND earlier.id < j.id
              AND earlier.run_at <= crm_now() AND earlier.held_by IS NULL))
    RETURNING j.id, j.task, j.queue, j.priority, j.args, j.workspace_id, j.claim_no, j.attempt, j.max_attempts,
              j.serial_key, j.trace_id
""")  # noqa: S608  no value is formatted in
# What a refused ring leaves behind: a row that the scheduler sees again, or the hold that it waits for.
_REFUSE = sa.text(f"""
    UPDATE jobs j SET rung_at = NULL, held_by = (SELECT h.id::text {_HOLDS.replace("SELECT 1", "")} LIMIT 1)
    WHERE j.id = :id AND j.state = 'queued'
""")  # noqa: S608
_EXISTS = sa.text("SELECT state FROM jobs WHERE id = :id")
_RUNNING_IN_QUEUE = sa.text("SELECT count(*) FROM jobs WHERE queue = :queue AND state = 'running'")
_LOCK_QUEUE = sa.text("SELECT pg_advisory_xact_lock(hashtext('claim'), hashtext(:queue))")

_ERRORS = f"jsonb_path_query_array(errors || cast(:errors AS jsonb), '$[last - {MAX_ERRORS - 1} to last]')"
_MINE = "WHERE id = :id AND claim_no = :claim_no AND state = 'running'"
_FINISH = sa.text(f"""
    UPDATE jobs SET state = 'succeeded', finished_at = crm_now(), lease_until = NULL,
        result = cast(:result AS jsonb), progress = NULL {_MINE}
""")  # noqa: S608
_BACK = sa.text(f"""
    UPDATE jobs SET state = 'queued', lease_until = NULL, rung_at = NULL, attempt = attempt + :failures,
        run_at = coalesce(cast(:until AS timestamptz), crm_now() + make_interval(secs => :wait)),
        errors = {_ERRORS}, fingerprint = coalesce(:fingerprint, fingerprint) {_MINE}
    RETURNING run_at
""")  # noqa: S608
_DIE = sa.text(f"""
    UPDATE jobs SET state = 'dead', lease_until = NULL, finished_at = crm_now(), attempt = attempt + 1,
        errors = {_ERRORS}, fingerprint = :fingerprint {_MINE}
    RETURNING finished_at
""")  # noqa: S608
_PROGRESS = sa.text(f"UPDATE jobs SET progress = cast(:progress AS jsonb) {_MINE}")  # noqa: S608
_WAKE_SERIAL = sa.text("""
    UPDATE jobs SET rung_at = now() WHERE id = (
        SELECT id FROM jobs WHERE serial_key = :key AND state = 'queued' AND held_by IS NULL AND run_at <= crm_now()
        ORDER BY id LIMIT 1)
    RETURNING id, task, queue, priority
""")
_WAKE_QUEUE = sa.text("""
    UPDATE jobs SET rung_at = now() WHERE id = (
        SELECT id FROM jobs WHERE queue = :key AND state = 'queued' AND rung_at IS NULL AND held_by IS NULL
          AND run_at <= crm_now() ORDER BY priority, run_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, task, queue, priority
""")


# --- in ----------------------------------------------------------------------------------------------------------


def claim(job_id: uuid.UUID, *, queue: str, worker: str) -> Claim | None:
    """Take a queued, due, unheld job for this process; None if there is nothing to take.

    A database that is away is waited for: the ring is in this thread's hands and is not dropped.
    """
    while True:
        try:
            return _try_claim(job_id, queue, worker)
        except sa.exc.DBAPIError as error:
            if not db.is_transient(error):
                raise
            log.warning("job.claim_waits", job_id=str(job_id))
            time.sleep(1.0)


def _try_claim(job_id: uuid.UUID, queue: str, worker: str) -> Claim | None:
    lease = settings().lease.total_seconds()
    asked = time.monotonic()
    try:
        row = _take(queue, {"id": job_id, "worker": worker, "lease": lease})
    except IntegrityError:  # another job with this serial_key runs; its end rings this one
        row = None
    if row is None:
        _refuse(job_id)
        return None
    return Claim(**row._mapping, worker=worker, lease_end=asked + lease)


def _take(queue: str, values: dict[str, Any]) -> sa.Row | None:
    cap = settings().queues[queue].concurrency
    if cap is None:
        with db.autocommit() as connection:
            return connection.execute(_CLAIM, values).first()
    with db.transaction() as session:
        session.execute(_LOCK_QUEUE, {"queue": queue})
        running = session.scalar(_RUNNING_IN_QUEUE, {"queue": queue}) or 0
        return session.execute(_CLAIM, values).first() if running < cap else None


def _refuse(job_id: uuid.UUID) -> None:
    with db.autocommit() as connection:
        if connection.execute(_REFUSE, {"id": job_id}).rowcount:
            return
        if connection.execute(_EXISTS, {"id": job_id}).first() is None:
            not_in_ledger(str(job_id))
        else:
            metrics.count("rings_empty")


def not_in_ledger(job_id: str) -> None:
    """Count and log a Celery message without a row: somebody's `send_task`. It is never run."""
    metrics.count("rings_foreign")
    log.warning("job.not_in_ledger", job_id=job_id[:64])


# --- out ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leave:
    """How a job is to leave `running` without success: where to, when to run again, what to remember."""

    state: JobState
    until: datetime | timedelta = timedelta(0)
    failures: int = 0
    errors: tuple[dict[str, Any], ...] = ()
    fingerprint: str | None = None


def finish(session: Session | Connection, claim: Claim, result: Any = None) -> bool:
    """Mark the job succeeded; False if the claim was lost meanwhile. The caller decides what that means."""
    values = {"id": claim.id, "claim_no": claim.claim_no, "result": _small(result)}
    claim.finished = session.execute(_FINISH, values).rowcount == 1  # type: ignore[union-attr]
    if not claim.finished:
        fenced(claim, "succeeded")
    return claim.finished


def finish_or_lose(session: Session, claim: Claim, result: Any = None) -> None:
    """Mark the job succeeded, or raise so that what was newly begun in its name is rolled back.

    Raises:
        LeaseLost: another claim owns the job by now, or it was cancelled.
    """
    if not finish(session, claim, result):
        raise LeaseLost(f"claim {claim.claim_no} of this job is over")


def plan(claim: Claim, error: BaseException) -> Leave:
    """Return what an exception of the task means: snoozed, to be retried by the queue's policy, or dead."""
    if isinstance(error, Snooze):
        return Leave(JobState.QUEUED, error.until)
    if db.is_disconnect(error):  # nobody's fault: the outage is over before an attempt would be used
        return Leave(JobState.QUEUED, timedelta(seconds=5))
    errors = (record(error, attempt=claim.attempt + 1, worker=claim.worker),)
    cause = fingerprint(error)
    if isinstance(error, Permanent) or claim.attempt + 1 >= claim.max_attempts:
        return Leave(JobState.DEAD, failures=1, errors=errors, fingerprint=cause)
    return Leave(JobState.QUEUED, _delay(claim, error), failures=1, errors=errors, fingerprint=cause)


def _delay(claim: Claim, error: BaseException) -> timedelta:
    if isinstance(error, Transient) and error.retry_after is not None:
        return error.retry_after
    planned = settings().queues[claim.queue].delay(claim.attempt + 1)
    return timedelta(seconds=planned * random.uniform(0.8, 1.2))


def leave(session: Session, claim: Claim, how: Leave) -> datetime | None:
    """Write a planned leave; returns the moment it holds for, or None if the claim was lost meanwhile."""
    values: dict[str, Any] = {
        "id": claim.id,
        "claim_no": claim.claim_no,
        "errors": db.dumps(how.errors),
        "fingerprint": how.fingerprint,
    }
    if how.state is JobState.DEAD:
        return session.scalar(_DIE, values)
    exact = isinstance(how.until, datetime)
    values |= {
        "until": how.until if exact else None,
        "wait": 0.0 if exact else how.until.total_seconds(),  # type: ignore[union-attr]
        "failures": how.failures,
    }
    return session.scalar(_BACK, values)


def show_progress(claim: Claim, shown: dict[str, Any]) -> None:
    """Let people see how far the job is; if the claim is over, remember that instead."""
    values = {"id": claim.id, "claim_no": claim.claim_no, "progress": db.dumps(shown)}
    with db.autocommit() as connection:
        claim.lost = connection.execute(_PROGRESS, values).rowcount == 0


def fenced(claim: Claim, outcome: str) -> None:
    """Count an outcome that came after its claim was lost: its facts stand, its transition does not."""
    claim.lost = True
    metrics.count("outcomes_fenced")
    log.warning("job.fenced", job_id=str(claim.id), task=claim.task, claim_no=claim.claim_no, outcome=outcome)


def wake_next(claim: Claim) -> None:
    """Ring the job that waited only for this one: the next of its serial_key, or of its capped queue."""
    if claim.serial_key is not None:
        key, statement = claim.serial_key, _WAKE_SERIAL
    elif settings().queues[claim.queue].concurrency is not None:
        key, statement = claim.queue, _WAKE_QUEUE
    else:
        return
    with db.autocommit() as connection:
        woken = connection.execute(statement, {"key": key}).first()
    if woken is not None:
        ring.soon([ring.Ring(*woken)])


def _small(result: Any) -> str:
    text = db.dumps(result)
    return text if len(text) <= _MAX_RESULT else db.dumps({"left_out": f"{len(text)} characters"})
