"""What the scheduler does each tick: ring what is due, ring again what was not heard, take back what dead workers held.

Mark rung, commit, publish, in this order: a worker that is rung before the commit would find nothing.
"""

import random
import uuid
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from celery import current_app
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, fair, metrics
from crm_tasks.core.errors import Transient
from crm_tasks.core.fingerprint import fingerprint, record
from crm_tasks.core.holds import BATCH, active
from crm_tasks.core.jobs import registry, ring
from crm_tasks.core.jobs.model import LANE, LAST_ERRORS, UNKNOWN_TASK, Hold, Job, JobState
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager

log = get_logger(__name__)

RUNG_AT_ONCE = fair.MOST
LOST_AT_ONCE = 1_000
# A ring that the broker does not have is lost after 5 s, then 10 s, … up to 320 s, as often as it was rung in vain.
LOST_AFTER = 5.0
_LOST_DOUBLINGS = 6

_DUE = "queue = :queue AND state = 'queued' AND rung_at IS NULL AND held_by IS NULL"
# The lanes are the (priority, workspace) pairs with work: found by skipping through the index, one step per lane.
_PICK = sa.text(f"""
    WITH RECURSIVE lanes AS (
        (SELECT priority, {LANE} AS lane FROM jobs WHERE {_DUE} ORDER BY priority, {LANE} LIMIT 1)
        UNION ALL
        SELECT further.priority, further.lane FROM lanes, LATERAL (
            SELECT priority, {LANE} AS lane FROM jobs
            WHERE {_DUE} AND (priority, {LANE}) > (lanes.priority, lanes.lane)
            ORDER BY priority, {LANE} LIMIT 1) AS further
    )
    SELECT due.id, due.task, due.priority, due.workspace_id, due.scopes, due.lane,
           due.began + due.turn / due.weight AS clock
    FROM lanes
    -- The one thing that the ledger asks of a table that is not its own: what share a workspace has.
    LEFT JOIN workspaces w ON w.id = lanes.lane
    LEFT JOIN unnest(cast(:lanes AS uuid[]), cast(:clocks AS float8[])) AS known(lane, clock) USING (lane),
    LATERAL (
        SELECT j.id, j.task, j.priority, j.workspace_id, j.scopes, j.run_at, lanes.lane,
               coalesce(w.weight, 1)::float8 AS weight, coalesce(known.clock, :now)::float8 AS began,
               row_number() OVER (ORDER BY j.run_at, j.id) AS turn
        FROM (SELECT * FROM jobs j
              WHERE j.queue = :queue AND j.state = 'queued' AND j.rung_at IS NULL AND j.held_by IS NULL
                AND j.priority = lanes.priority
                AND coalesce(j.workspace_id, '00000000-0000-0000-0000-000000000000'::uuid) = lanes.lane
                AND j.run_at <= crm_now()
                AND (j.serial_key IS NULL OR NOT EXISTS (
                     SELECT 1 FROM jobs e WHERE e.serial_key = j.serial_key
                       AND (e.state = 'running' OR (e.state = 'queued' AND e.id < j.id AND e.run_at <= crm_now()
                                                    AND e.held_by IS NULL))))
              ORDER BY j.run_at LIMIT :room) AS j
    ) AS due
    ORDER BY due.priority, clock, due.run_at LIMIT :room
""")  # noqa: S608  only names of columns are formatted in
# The first ring since it was last heard (or given up): a job that was put off often is as soon missed as a new one.
_MARK = sa.text("""
    UPDATE jobs SET rung_at = now(), rings = 1
    WHERE id IN (SELECT id FROM jobs WHERE id = ANY(:ids) AND state = 'queued' AND rung_at IS NULL AND held_by IS NULL
                 ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id, task, queue, priority
""")
_UNHEARD = sa.text(f"""
    SELECT id FROM jobs
    WHERE queue = :queue AND state = 'queued' AND rung_at IS NOT NULL AND run_at <= crm_now()
      AND rung_at < now() - make_interval(secs => :after) * power(2, least(rings, {_LOST_DOUBLINGS}))
    ORDER BY rung_at LIMIT {RUNG_AT_ONCE * 2}
""")  # noqa: S608
_RING_AGAIN = sa.text("""
    UPDATE jobs SET rung_at = now(), rings = rings + 1
    WHERE id IN (SELECT id FROM jobs WHERE id = ANY(:ids) AND state = 'queued' AND rung_at IS NOT NULL
                 ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id, task, queue, priority
""")
_RUNG_COUNT = sa.text("SELECT count(*) FROM jobs WHERE queue = :queue AND state = 'queued' AND rung_at IS NOT NULL")
_HANDS = sa.text("""
    SELECT coalesce(sum(concurrency), 0) FROM processes
    WHERE kind = 'worker' AND stopped_at IS NULL AND seen_at > now() - :lease AND :queue = ANY(queues)
""")
_RUNNING_COUNT = sa.text("SELECT count(*) FROM jobs WHERE queue = :queue AND state = 'running'")
_EXPIRED = sa.text("""
    SELECT j.id, j.task, j.queue, j.args, j.claim_no, j.crashes, j.worker, p.stopped_at IS NOT NULL AS stopped
    FROM jobs j LEFT JOIN processes p ON p.name = j.worker
    WHERE j.state = 'running' AND j.lease_until < now()
    ORDER BY j.id LIMIT 200
""")
_TAKE_BACK = sa.text(f"""
    UPDATE jobs SET state = :state, lease_until = NULL, rung_at = NULL, crashes = crashes + :crashes,
        run_at = CASE WHEN :state = 'queued' THEN crm_now() + make_interval(secs => :wait) ELSE run_at END,
        finished_at = CASE WHEN :state = 'dead' THEN crm_now() END,
        errors = {LAST_ERRORS.format(":errors")}, fingerprint = coalesce(:fingerprint, fingerprint)
    WHERE id = :id AND claim_no = :claim_no AND state = 'running' AND lease_until < now()
""")  # noqa: S608
_FREE_KNOWN = """
    UPDATE jobs SET held_by = NULL, rung_at = NULL
    WHERE id IN (SELECT j.id FROM jobs j
                 WHERE j.state = 'queued' AND j.held_by = %(marker)s AND EXISTS (
                     SELECT 1 FROM processes p WHERE p.stopped_at IS NULL AND p.seen_at > now() - %(lease)s
                       AND j.queue = ANY(p.queues) AND j.task = ANY(p.tasks))
                 ORDER BY j.id LIMIT 5000 FOR UPDATE SKIP LOCKED)
"""


class LostLease(Transient):
    """The worker that ran the job went away without a word."""


# --- ringing -----------------------------------------------------------------------------------------------------


_windows: dict[Queue, fair.Window] = defaultdict(fair.Window)
_turns: dict[Queue, fair.Turns] = defaultdict(fair.Turns)


def ring_due(queue: Queue, *, at_once: int | None = None) -> bool:
    """Ring what is due in a queue, by priority, then each workspace in its turn; True if there may be more.

    Args:
        at_once: how many rings may be out, instead of what is heard between two turns.
    """
    window, turns, picked_all = _windows[queue], _turns[queue], False
    for _ in range(10):
        with db.transaction() as session:
            room = _room(session, queue, window) if at_once is None else at_once - _rung(session, queue)
            if room <= 0:
                return False
            holds = _active_holds(session)
            wanted_at_most = max(room, BATCH) if holds else room
            picks = session.execute(_PICK, {"queue": queue, "room": wanted_at_most, **turns.values()}).all()
            held = {pick.id: hold for pick in picks if (hold := _hold_on(pick, queue, holds))}
            _mark_held(session, held)
            wanted = [pick for pick in picks if pick.id not in held][:room]
            rings = _marked(session, _MARK, [pick.id for pick in wanted])
        _publish(rings)
        turns.took([(pick.lane, pick.clock) for pick in wanted])
        window.filled = picked_all = len(wanted) == room
        if not held or picked_all:
            break
    return picked_all


def forget() -> None:
    """Forget whose turn it was and how much was heard, as a new scheduler does not know it."""
    _windows.clear()
    _turns.clear()


def _room(session: Session, queue: Queue, window: fair.Window) -> int:
    rung = _rung(session, queue)
    cap = settings().queues[queue].concurrency
    if cap is None:
        hands: int = session.scalar(_HANDS, {"queue": queue, "lease": settings().lease})
        return window.room(rung, hands)
    running: int = session.scalar(_RUNNING_COUNT, {"queue": queue})
    return cap - running - rung


def _rung(session: Session, queue: Queue) -> int:
    return session.scalar(_RUNG_COUNT, {"queue": queue}) or 0


def _active_holds(session: Session) -> dict[str, str]:
    return {scope: str(hold_id) for scope, hold_id in session.execute(sa.select(Hold.scope, Hold.id).where(active()))}


def _hold_on(pick: sa.Row, queue: Queue, holds: dict[str, str]) -> str | None:
    if not holds:
        return None
    scopes = ["all", f"queue:{queue}", f"task:{pick.task}", f"workspace:{pick.workspace_id}", *pick.scopes]
    return next((holds[scope] for scope in scopes if scope in holds), None)


def _mark_held(session: Session, held: dict[uuid.UUID, str]) -> None:
    for hold in set(held.values()):
        ids = [job_id for job_id, by in held.items() if by == hold]
        session.execute(
            sa.update(Job)
            .where(Job.id.in_(ids), Job.state == JobState.QUEUED, Job.rung_at.is_(None))
            .values(held_by=hold)
            .execution_options(synchronize_session=False)
        )


def _marked(session: Session, mark: sa.TextClause, ids: list[uuid.UUID]) -> list[ring.Ring]:
    """Mark jobs as rung and return their rings in the order given: workers take them in the order they are sent."""
    rings = {row.id: ring.Ring(*row) for row in session.execute(mark, {"ids": ids})} if ids else {}
    return [rings[job_id] for job_id in ids if job_id in rings]


def _publish(rings: list[ring.Ring]) -> None:
    if not rings:
        return
    try:
        ring.publish(rings)
    except Exception:
        metrics.count("rings_failed", len(rings))
        ring.unring([r.id for r in rings])
        raise


def ring_lost(queue: Queue) -> int:
    """Ring again what is marked as rung but is not at the broker; return how many."""
    with db.transaction() as session:
        unheard = list(session.scalars(_UNHEARD, {"queue": queue, "after": LOST_AFTER}))
        if not unheard:
            return 0
        waiting = at_broker(queue)
        lost = [job_id for job_id in unheard if str(job_id) not in waiting][:LOST_AT_ONCE]
        rings = _marked(session, _RING_AGAIN, lost)
    _publish(rings)
    metrics.count("rings_lost", len(rings))
    if rings:
        log.warning("ring.lost", queue=queue, jobs=len(rings))
    return len(rings)


def at_broker(queue: str) -> set[str]:
    """Return the ids of the jobs whose rings wait in the broker's lists of a queue.

    RabbitMQ cannot be asked; its quorum queues do not lose messages, so there a ring counts as waiting while the
    queue holds any.
    """
    if not settings().broker_is_redis:
        with current_app.producer_pool.acquire(block=True) as producer:
            declared = producer.channel.queue_declare(queue, passive=True)
            return _EVERYTHING if declared.message_count else set()
    pipe = manager().client("broker").pipeline(transaction=False)
    for key in ring.broker_keys(queue):
        pipe.lrange(key, 0, RUNG_AT_ONCE * 5)
    return {found for items in pipe.execute() for item in items if (found := _id_of(item))}


class _Everything(set):
    def __contains__(self, _: object) -> bool:
        return True


_EVERYTHING: set[str] = _Everything()


def _id_of(message: bytes) -> str | None:
    try:
        found = orjson.loads(message)["headers"]["id"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    return found if isinstance(found, str) else None


# --- taking back -------------------------------------------------------------------------------------------------


def expire_leases() -> int:
    """Return the jobs of dead workers to their queues, or to the dead letters as poison; return how many."""
    with db.transaction() as session:
        expired = session.execute(_EXPIRED).all()
    taken = sum(_take_back_alone(row) for row in expired)
    metrics.count("leases_expired", taken)
    return taken


def _take_back_alone(row: sa.Row) -> int:
    """Take one job back; one whose room fails at it stands in nobody's way."""
    try:
        return _take_back(row)
    except Exception as error:
        if db.is_disconnect(error):
            raise
        if rarely("job.not_taken_back", 10):
            log.exception("job.not_taken_back", job_id=str(row.id), task=row.task)
        return 0


def _take_back(row: sa.Row) -> int:
    crashes = 0 if row.stopped else 1
    poison = row.crashes + crashes >= settings().queues[row.queue].poison_after
    error = LostLease("the worker that ran it went away" + (" for the last time" if poison else ""), code="lost_lease")
    if poison:
        error = LostLease(f"poison: {row.crashes + 1} workers died while they ran it", code="poison")
    state = JobState.DEAD if poison else JobState.QUEUED
    errors = [record(error, attempt=0, worker=row.worker)] if crashes else []
    values: dict[str, Any] = {
        "id": row.id,
        "claim_no": row.claim_no,
        "state": state,
        "crashes": crashes,
        "wait": _apart(row.crashes) if crashes else 0.0,
        "errors": db.dumps(errors),
        "fingerprint": fingerprint(error) if poison else None,
    }
    with db.transaction() as session:
        if poison:
            registry.follow(session, row.task, state, error, row.args)
        done = db.changed(session.execute(_TAKE_BACK, values))
        if not done:
            session.rollback()
    if done:
        log.warning("job.lease_expired", job_id=str(row.id), task=row.task, worker=row.worker, poison=poison)
    return done


def _apart(crashes: int) -> float:
    """Return seconds to wait after a crash: the more there were, the further a poison job is parted from neighbours."""
    return random.uniform(0, 2.0 if crashes == 0 else 30.0 * 2**crashes)


def free_known() -> int:
    """Let go of jobs whose task was unknown, once a live worker of their queue knows it."""
    with db.autocommit() as connection:
        freed = connection.execute(_FREE_KNOWN, {"marker": UNKNOWN_TASK, "lease": settings().lease}).rowcount
    if freed:
        log.info("job.task_known", jobs=freed)
    return freed


def park_unknown(job_id: str, task: str) -> None:
    """Keep a job whose task this worker does not know; Celery itself would have dropped its message."""
    metrics.count("unknown_tasks")
    log.error("job.unknown_task", job_id=job_id[:64], task=task[:128])
    try:
        wanted = uuid.UUID(job_id)
    except ValueError:
        return
    with db.autocommit() as connection:
        connection.execute(
            "UPDATE jobs SET held_by = %s, rung_at = NULL WHERE id = %s AND state = 'queued'", (UNKNOWN_TASK, wanted)
        )


def oldest_due(session: Session) -> datetime | None:
    """Return since when the longest-waiting job could have started."""
    return session.scalar(
        sa.select(sa.func.min(Job.run_at)).where(
            Job.state == JobState.QUEUED, Job.run_at <= db.now(), Job.held_by.is_(None)
        )
    )


POSTGRES_UP_FOR = sa.text("SELECT now() - pg_postmaster_start_time() > :lease")


def postgres_settled(session: Session) -> bool:
    """Say whether Postgres has run for a whole lease: sooner, no worker had a chance to renew."""
    lease: timedelta = settings().lease
    return bool(session.scalar(POSTGRES_UP_FOR, {"lease": lease}))
