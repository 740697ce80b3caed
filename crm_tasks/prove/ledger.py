"""What must be true of the ledger itself."""

from datetime import timedelta

from sqlalchemy.orm import Session

from crm_tasks.core import rollup
from crm_tasks.core.jobs.model import MAX_ERRORS, UNKNOWN_TASK
from crm_tasks.prove.invariant import Invariant, rows

# A scheduler that is seen within this is said to run; an entry that came due less long ago is not overdue.
_SEEN = timedelta(seconds=10)


def _one_running_per_serial_key(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT serial_key || ' is running ' || count(*) || ' times' FROM jobs "
        "WHERE state = 'running' AND serial_key IS NOT NULL GROUP BY serial_key HAVING count(*) > 1",
    )


def _leases_are_kept(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT id || ' (' || task || ') runs under a lease that ended at ' || lease_until FROM jobs "
        "WHERE state = 'running' AND lease_until < now() - cast(:grace AS interval) - cast(:grace AS interval)",
        grace=grace,
    )


def _counters_add_up(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT id || ' (' || task || ', ' || state || '): claim ' || claim_no || ', attempt ' || attempt || ' of ' "
        "|| max_attempts || ', ' || jsonb_array_length(errors) || ' errors' FROM jobs "
        "WHERE attempt > max_attempts OR jsonb_array_length(errors) > :most OR claim_no < attempt "
        "OR (state = 'succeeded' AND (claim_no = 0 OR started_at IS NULL)) "
        "OR (state = 'dead' AND jsonb_array_length(errors) = 0)",
        most=MAX_ERRORS,
    )


def _held_by_a_hold(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT id || ' (' || task || ') waits for ' || held_by || ', which holds nothing' FROM jobs j "
        "WHERE state = 'queued' AND held_by IS NOT NULL AND held_by <> :marker AND NOT EXISTS ("
        "  SELECT FROM holds h WHERE h.id::text = j.held_by AND (h.released_at IS NULL "
        "    OR h.released_at > crm_now() - cast(:grace AS interval)) "
        "    AND (h.expires_at IS NULL OR h.expires_at > crm_now() - cast(:grace AS interval)))",
        marker=UNKNOWN_TASK,
        grace=grace,
    )


def _nothing_held_runs_free(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT j.id || ' (' || j.task || ') was started while ' || h.scope || ' was held' FROM jobs j JOIN holds h "
        "ON h.scope = ANY(ARRAY['all', 'queue:' || j.queue, 'task:' || j.task, 'workspace:' || j.workspace_id] "
        "|| j.scopes) WHERE j.state = 'running' AND h.released_at IS NULL "
        "AND (h.expires_at IS NULL OR h.expires_at > crm_now()) AND j.started_at > h.created_at + interval '2 s'",
    )


def _instants_fire_once(session: Session, _grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT coalesce(unique_key, key_was) || ' has ' || count(*) || ' jobs' FROM jobs "
        "WHERE coalesce(unique_key, key_was) LIKE 'calendar:%' GROUP BY coalesce(unique_key, key_was) "
        "HAVING count(*) > 1",
    )


def _calendar_is_not_overdue(session: Session, grace: timedelta) -> list[str]:
    return rows(
        session,
        "SELECT entry || ' was due at ' || next_at FROM calendar WHERE next_at < crm_now() - cast(:grace AS interval) "
        "AND EXISTS (SELECT FROM watermarks WHERE name = 'scheduler' AND at > now() - interval '10 s')",
        grace=max(grace, _SEEN),
    )


def _minutes_count_the_jobs(session: Session, _grace: timedelta) -> list[str]:
    rollup.watermark(session)
    uncounted = rows(
        session,
        "SELECT done.minute || ' ' || done.queue || ': ' || done.jobs || ' jobs succeeded, ' "
        "|| coalesce(m.jobs, 0) || ' are counted' FROM ("
        "  SELECT date_trunc('minute', finished_at) AS minute, queue, count(*) AS jobs FROM jobs "
        "  WHERE state = 'succeeded' AND finished_at > crm_now() - interval '6 h' "
        "    AND finished_at < (SELECT at FROM watermarks WHERE name = :name) GROUP BY 1, 2) AS done "
        "LEFT JOIN job_minutes m ON m.minute = done.minute AND m.queue = done.queue AND m.state = 'succeeded' "
        "WHERE coalesce(m.jobs, 0) < done.jobs",
        name=rollup.NAME,
    )
    behind = rows(
        session,
        "SELECT 'nothing is counted since ' || counted.at || ', though a scheduler runs' FROM watermarks counted "
        "JOIN watermarks tick ON tick.name = 'scheduler' AND tick.at > now() - interval '10 s' "
        "WHERE counted.name = :name AND counted.at < crm_now() - interval '1 hour'",
        name=rollup.NAME,
    )
    return uncounted + behind


INVARIANTS = (
    Invariant("serial keys", "Of the jobs with one serial key at most one runs.", _one_running_per_serial_key),
    Invariant("leases", "No job stays with a worker whose lease ended long ago.", _leases_are_kept),
    Invariant("counters", "Claims, attempts, errors and states of each job fit together.", _counters_add_up),
    Invariant("held jobs", "A job that waits for a hold waits for one in force.", _held_by_a_hold),
    Invariant("holds are obeyed", "Nothing was started while it was held.", _nothing_held_runs_free),
    Invariant("calendar fires once", "Each entry and instant of the calendar has one job.", _instants_fire_once),
    Invariant("calendar is on time", "While a scheduler runs, no entry is overdue.", _calendar_is_not_overdue),
    Invariant("figures", "The roll-ups count every job that succeeded.", _minutes_count_the_jobs),
)
