"""The way through a worker: claim, then exactly one of finish, snooze, retry, die. Every transition is fenced.

Facts about the outside world are written whether or not the claim still holds; the job's own state, and anything new
it starts, only under its `claim_no`.
"""

import random
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, metrics
from crm_tasks.core.combine import Combiner
from crm_tasks.core.errors import LeaseLost, Permanent, Snooze, Transient
from crm_tasks.core.fingerprint import fingerprint, record
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.enqueue import current_parent, current_trace
from crm_tasks.core.jobs.model import HOLDING, LAST_ERRORS, JobState
from crm_tasks.core.log import bound, get_logger
from crm_tasks.core.text import storable

log = get_logger(__name__)
_MAX_RESULT, _MAX_REASON = 4_000, 500


@dataclass(slots=True)
class Claim:
    """One claim of one job by this process, fields in the order that `_CLAIM` returns. `claim_no` is its fence."""

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
    crashes: int = 0
    _: KW_ONLY
    worker: str
    # Seconds of this process's monotonic clock.
    claimed: float = field(default_factory=time.monotonic)
    lease_end: float = 0.0
    progress_at: float = 0.0
    lost: bool = False
    finished: bool = False
    # What it came to is known and waits for Postgres: not stuck, however long that takes.
    storing: bool = False

    def holds_for(self, seconds: float) -> bool:
        """Say whether the lease surely lasts so long: asked just before a request leaves."""
        return not self.lost and time.monotonic() + seconds < self.lease_end


current: ContextVar[Claim | None] = ContextVar("current_claim", default=None)


@contextmanager
def acting_for(claim: Claim) -> Iterator[None]:
    """Let what is enqueued and logged in this block be of this job, whoever's thread it is."""
    tokens = (
        current.set(claim),
        current_parent.set(claim.id),
        current_trace.set(claim.trace_id or claim.id),
    )
    try:
        with bound(job_id=str(claim.id), task=claim.task, trace_id=str(claim.trace_id or claim.id)):
            yield
    finally:
        current.reset(tokens[0])
        current_parent.reset(tokens[1])
        current_trace.reset(tokens[2])


_HOLDS = HOLDING.format("j")
_CLAIM = f"""
    UPDATE jobs j
    SET state = 'running', claim_no = j.claim_no + 1, started_at = crm_now(), worker = %(worker)s,
        lease_until = now() + make_interval(secs => %(lease)s),
        key_was = coalesce(j.unique_key, j.key_was), unique_key = NULL
    WHERE j.id = %(id)s AND j.state = 'queued' AND j.run_at <= crm_now() AND NOT EXISTS (SELECT 1 {_HOLDS})
      AND (j.serial_key IS NULL OR NOT EXISTS (
            SELECT 1 FROM jobs earlier
            WHERE earlier.serial_key = j.serial_key AND earlier.state = 'queued' AND earlier.id < j.id
              AND earlier.run_at <= crm_now() AND earlier.held_by IS NULL))
    RETURNING j.id, j.task, j.queue, j.priority, j.args, j.workspace_id, j.claim_no, j.attempt, j.max_attempts,
              j.serial_key, j.trace_id, j.crashes
"""  # noqa: S608  no value is formatted in
# Many at once; not those whose row an open transaction may hold, which would keep the others (ledger rule 4).
_CLAIM_MANY = _CLAIM.replace("j.id = %(id)s", "j.id = ANY(%(ids)s) AND j.unique_key IS NULL").replace(
    "    RETURNING",
    """      AND NOT EXISTS (SELECT 1 FROM jobs r WHERE r.serial_key = j.serial_key AND r.state = 'running')
    RETURNING""",
)
# What a refused ring leaves behind: a row that the scheduler sees again, or the hold that it waits for.
_REFUSE = f"""
    UPDATE jobs j SET rung_at = NULL, held_by = (SELECT h.id::text {_HOLDS} LIMIT 1)
    WHERE j.id = %(id)s AND j.state = 'queued'
"""  # noqa: S608
_EXISTS = "SELECT state FROM jobs WHERE id = %(id)s"
_RUNNING_IN_QUEUE = "SELECT count(*) FROM jobs WHERE queue = %(queue)s AND state = 'running'"
_LOCK_QUEUE = "SELECT pg_advisory_xact_lock(hashtext('claim'), hashtext(%(queue)s))"

_ERRORS = LAST_ERRORS.format("%(errors)s")
_MINE = "WHERE id = %(id)s AND claim_no = %(claim_no)s AND state = 'running'"
_FINISH = f"""
    UPDATE jobs SET state = 'succeeded', finished_at = crm_now(), lease_until = NULL,
        result = cast(%(result)s AS jsonb), progress = NULL {_MINE}
"""  # noqa: S608
_FINISH_MANY = """
    UPDATE jobs SET state = 'succeeded', finished_at = crm_now(), lease_until = NULL, progress = NULL,
        result = cast('null' AS jsonb)
    FROM (SELECT j.id FROM jobs j JOIN unnest(%(ids)s::uuid[], %(claims)s::int[]) AS m(id, claim_no) USING (id)
          WHERE j.claim_no = m.claim_no AND j.state = 'running' ORDER BY j.id FOR UPDATE OF j) AS mine
    WHERE jobs.id = mine.id
    RETURNING jobs.id
"""
_BACK = f"""
    UPDATE jobs SET state = 'queued', lease_until = NULL, rung_at = NULL, attempt = attempt + %(failures)s,
        run_at = coalesce(cast(%(until)s AS timestamptz), crm_now() + make_interval(secs => %(wait)s)),
        errors = {_ERRORS}, fingerprint = coalesce(%(fingerprint)s, fingerprint), reason = %(reason)s {_MINE}
    RETURNING run_at
"""  # noqa: S608
_DIE = f"""
    UPDATE jobs SET state = 'dead', lease_until = NULL, finished_at = crm_now(), attempt = attempt + 1,
        errors = {_ERRORS}, fingerprint = %(fingerprint)s {_MINE}
    RETURNING finished_at
"""  # noqa: S608
_PROGRESS = f"UPDATE jobs SET progress = cast(%(progress)s AS jsonb) {_MINE}"  # noqa: S608
_FORGIVE = f"UPDATE jobs SET crashes = 0 {_MINE}"  # noqa: S608
_WAKE_SERIAL = """
    UPDATE jobs SET rung_at = now() WHERE id IN (
        SELECT following.id FROM unnest(%(keys)s::text[]) AS given(key), LATERAL (
            SELECT id FROM jobs WHERE serial_key = given.key AND state = 'queued' AND held_by IS NULL
              AND run_at <= crm_now() ORDER BY id LIMIT 1) AS following)
    RETURNING id, task, queue, priority
"""
_WAKE_QUEUE = """
    UPDATE jobs SET rung_at = now() WHERE id = (
        SELECT id FROM jobs WHERE queue = %(key)s AND state = 'queued' AND rung_at IS NULL AND held_by IS NULL
          AND run_at <= crm_now() ORDER BY priority, run_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, task, queue, priority
"""


# --- in ----------------------------------------------------------------------------------------------------------


def claim(job_id: uuid.UUID, *, queue: str, worker: str) -> Claim | None:
    """Take a queued, due, unheld job for this process; None if there is nothing to take.

    A database that is away is waited for: the ring is in this thread's hands and is not dropped.
    """
    while True:
        try:
            return _try_claim(job_id, queue, worker)
        except (psycopg.Error, SQLAlchemyError) as error:
            if not db.is_transient(error):
                raise
            log.warning("job.claim_waits", job_id=str(job_id))
            time.sleep(1.0)


def _try_claim(job_id: uuid.UUID, queue: str, worker: str) -> Claim | None:
    if settings().queues[queue].concurrency is not None:
        return _claim_alone(job_id, queue, worker)
    return _claimed.ask((job_id, queue, worker))


_Asked = tuple[uuid.UUID, str, str]


def _claim_many(asked: Sequence[_Asked]) -> list[Claim | BaseException | None]:
    """Take jobs with one statement; what it leaves is asked for alone, as something special speaks against it."""
    taken = _take_many(asked) if len(asked) > 1 else {}
    found: list[Claim | BaseException | None] = []
    for job_id, queue, worker in asked:
        try:
            found.append(taken.pop(job_id, None) or _claim_alone(job_id, queue, worker))
        except (psycopg.Error, SQLAlchemyError) as error:  # of this one: what was taken for others is theirs
            found.append(error)
    return found


def _take_many(asked: Sequence[_Asked]) -> dict[uuid.UUID, Claim]:
    lease, begun = settings().lease.total_seconds(), time.monotonic()
    worker = asked[0][2]
    with db.autocommit() as connection:
        try:
            rows = connection.execute(
                _CLAIM_MANY, {"ids": sorted({each[0] for each in asked}), "worker": worker, "lease": lease}
            ).fetchall()
        except psycopg.errors.UniqueViolation:  # one of the same serial_key began at this very moment
            rows = []
    return {row[0]: Claim(*row, worker=worker, lease_end=begun + lease) for row in rows}


_claimed: Combiner[_Asked, Claim | None] = Combiner(_claim_many, name="claim", at_most=50)


def _claim_alone(job_id: uuid.UUID, queue: str, worker: str) -> Claim | None:
    lease = settings().lease.total_seconds()
    asked = time.monotonic()
    with db.autocommit() as connection:
        try:
            row = _take(connection, queue, {"id": job_id, "worker": worker, "lease": lease})
        except psycopg.errors.UniqueViolation:  # another job with this serial_key runs; its end rings this one
            row = None
        if row is None:
            _refuse(connection, job_id)
            return None
    return Claim(*row, worker=worker, lease_end=asked + lease)


def _take(connection: psycopg.Connection, queue: str, values: dict[str, Any]) -> tuple[Any, ...] | None:
    cap = settings().queues[queue].concurrency
    if cap is None:
        return connection.execute(_CLAIM, values).fetchone()
    with connection.transaction():
        connection.execute(_LOCK_QUEUE, {"queue": queue})
        running = connection.execute(_RUNNING_IN_QUEUE, {"queue": queue}).fetchone() or (0,)
        return connection.execute(_CLAIM, values).fetchone() if running[0] < cap else None


def _refuse(connection: psycopg.Connection, job_id: uuid.UUID) -> None:
    if connection.execute(_REFUSE, {"id": job_id}).rowcount:
        return
    if connection.execute(_EXISTS, {"id": job_id}).fetchone() is None:
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
    # Why it is put off, as `code: text`.
    reason: str | None = None


def finish(session: Session | psycopg.Connection, claim: Claim, result: Any = None) -> bool:
    """Mark the job succeeded; False if the claim was lost meanwhile. The caller decides what that means."""
    connection = db.driver(session) if isinstance(session, Session) else session
    values = {"id": claim.id, "claim_no": claim.claim_no, "result": _small(result)}
    claim.finished = connection.execute(_FINISH, values).rowcount == 1
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
        return Leave(JobState.QUEUED, error.until, reason=f"{error.code}: {error}"[:_MAX_REASON])
    if db.is_disconnect(error):  # nobody's fault: the outage is over before an attempt would be used
        return Leave(JobState.QUEUED, timedelta(seconds=5), reason="database_away: Postgres did not answer")
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
    connection = db.driver(session)
    if how.state is JobState.DEAD:
        row = connection.execute(_DIE, values).fetchone()
        return row[0] if row else None
    exact = isinstance(how.until, datetime)
    values |= {
        "until": how.until if exact else None,
        "wait": 0.0 if exact else how.until.total_seconds(),  # type: ignore[union-attr]
        "failures": how.failures,
        "reason": how.reason,
    }
    row = connection.execute(_BACK, values).fetchone()
    return row[0] if row else None


def show_progress(claim: Claim, shown: dict[str, Any]) -> None:
    """Let people see how far the job is; if the claim is over, remember that instead."""
    values = {"id": claim.id, "claim_no": claim.claim_no, "progress": db.dumps(storable(shown))}
    with db.autocommit() as connection:
        if connection.execute(_PROGRESS, values).rowcount == 0:
            claim.lost = True


def forget_crashes(claim: Claim) -> None:
    """Count the workers that die of this job anew: of what they died is done."""
    with db.autocommit() as connection:
        connection.execute(_FORGIVE, {"id": claim.id, "claim_no": claim.claim_no})
    claim.crashes = 0


def fenced(claim: Claim, outcome: str) -> None:
    """Count an outcome that came after its claim was lost: its facts stand, its transition does not."""
    claim.lost = True
    metrics.count("outcomes_fenced")
    log.warning("job.fenced", job_id=str(claim.id), task=claim.task, claim_no=claim.claim_no, outcome=outcome)


def finish_many(session: Session, wanted: Sequence[Claim]) -> None:
    """Mark jobs succeeded, each whose claim still holds."""
    values = {"ids": [claim.id for claim in wanted], "claims": [claim.claim_no for claim in wanted]}
    done = {row[0] for row in db.driver(session).execute(_FINISH_MANY, values)}
    for claim in wanted:
        claim.finished = claim.id in done
        if not claim.finished:
            fenced(claim, "succeeded")


def wake_next(claim: Claim) -> None:
    """Ring the job that waited only for this one: the next of its serial_key, or of its capped queue.

    Without Postgres the scheduler does it later: what this job has come to stands.
    """
    try:
        if claim.serial_key is not None:
            _woken.ask(claim.serial_key)
        elif settings().queues[claim.queue].concurrency is not None:
            _wake(_WAKE_QUEUE, {"key": claim.queue})
    except (psycopg.Error, SQLAlchemyError) as error:
        log.warning("job.next_not_rung", error=db.reason(error))


def _wake_many(keys: Sequence[str]) -> list[None]:
    _wake(_WAKE_SERIAL, {"keys": sorted(set(keys))})
    return [None] * len(keys)


_woken: Combiner[str, None] = Combiner(_wake_many, name="wake", at_most=100)


def _wake(statement: str, values: Mapping[str, Any]) -> None:
    with db.autocommit() as connection:
        woken = connection.execute(statement, values).fetchall()
    if woken:
        ring.soon([ring.Ring(*each) for each in woken])


def _small(result: Any) -> str:
    """Return a result as it is kept. Whatever a task returns, its work is done and must not be done again."""
    try:
        text = db.dumps(storable(result))
    except TypeError:
        return db.dumps({"left_out": type(result).__name__})
    return text if len(text) <= _MAX_RESULT else db.dumps({"left_out": f"{len(text)} characters"})
