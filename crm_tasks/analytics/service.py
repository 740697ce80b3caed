"""Housekeeping: what is old enough goes, in batches so small that nobody waits for them.

`clean_ups` is the whole list: what a room keeps for a time has one line there.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import metrics, partitions, rollup
from crm_tasks.core.db import changed, now
from crm_tasks.core.idempotency import IdempotencyKey
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import Job, JobMinute, JobState, Process
from crm_tasks.core.queues import Queue
from crm_tasks.core.types import id_floor
from crm_tasks.exports import service as exports
from crm_tasks.exports.models import Export
from crm_tasks.imports import service as imports
from crm_tasks.imports.models import Import, ImportChange, ImportReject
from crm_tasks.media.models import Media
from crm_tasks.media.service import files
from crm_tasks.notifications.models import Notification
from crm_tasks.webhooks.models import Event
from crm_tasks.webhooks.service import history as webhooks
from crm_tasks.workspaces.models import AuditEvent, Invitation, LoginAttempts

# Rows of one transaction.
BATCH = 5_000
PROCESSES_LIVE = timedelta(days=2)
# Succeeded and cancelled jobs go; a dead one stays until a person decides.
_OVER = (JobState.SUCCEEDED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class CleanUp:
    """One kind of thing that goes when it is older than `keep`.

    `remove(session, before)` removes one batch of what is older than a moment and says how many that was, 0 when none
    is left; `count(session, before)` says how many there are.
    """

    name: str
    keep: timedelta
    remove: Callable[[Session, datetime], int]
    count: Callable[[Session, datetime], int]


def clean_ups() -> list[CleanUp]:
    """Return everything that is cleaned up, in its order."""
    config = settings()
    history, raw = timedelta(days=config.history_days), timedelta(days=config.raw_event_days)
    undo = timedelta(days=config.import_days)
    return [
        *(_jobs_of(queue) for queue in Queue),
        _rows("jobs with their own time", Job, timedelta(0), _kept_long_enough),
        _rows("idempotency keys", IdempotencyKey, config.cleanup_retention, lambda at: IdempotencyKey.created_at < at),
        _rows("attempts to log in", LoginAttempts, timedelta(days=1), lambda at: LoginAttempts.since < at),
        _rows("used invitations", Invitation, config.cleanup_retention, lambda at: Invitation.expires_at < at),
        _rows("who changed what", AuditEvent, history, _older(AuditEvent)),
        _rows("read notifications", Notification, config.cleanup_retention, lambda at: Notification.read_at < at),
        CleanUp("media", timedelta(days=config.media_days), files.forget, partial(_count, Media, _older(Media))),
        _rows("refused rows of imports", ImportReject, undo, lambda at: ImportReject.import_id < id_floor(at)),
        _rows("what imports have changed", ImportChange, undo, lambda at: ImportChange.import_id < id_floor(at)),
        CleanUp("files of imports", undo, imports.forget_files, imports.count_files),
        _rows("imports", Import, history, _older(Import)),
        CleanUp("files of exports", timedelta(days=config.export_days), exports.forget_files, exports.count_files),
        _rows("exports", Export, history, _over_and_older),
        CleanUp("events of webhooks", config.cleanup_retention, webhooks.forget, partial(_count, Event, _older(Event))),
        CleanUp("minutes of old days", rollup.MINUTES_LIVE, lambda session, _: rollup.fold_day(session), _unfolded),
        _rows("old days", JobMinute, history, lambda at: JobMinute.minute < at),
        _rows("processes", Process, PROCESSES_LIVE, _silent),
        _parts("raw events", "inbound_events", raw),
        _rows_outside_parts("raw events outside their parts", "inbound_events", raw),
        _parts("status events", "status_events", history),
        _rows_outside_parts("status events outside their parts", "status_events", history),
    ]


def step(session: Session, what: CleanUp) -> int:
    """Remove one batch and return how many rows (or parts of a table) that was."""
    count = what.remove(session, _moment(session) - what.keep)
    metrics.count("cleaned_rows", count)
    return count


def due(session: Session) -> dict[str, int]:
    """Return how many rows (or parts of a table) would go now, by name."""
    moment = _moment(session)
    return {what.name: what.count(session, moment - what.keep) for what in clean_ups()}


def prepare(session: Session) -> None:
    """Make the parts of the coming days."""
    partitions.ensure(session, _moment(session))


def go_on(session: Session) -> uuid.UUID:
    """Have what is left cleaned up by another job, and return its id."""
    return enqueue(session, "analytics.clean_up", args={}, unique_key="clean-up")


def _moment(session: Session) -> datetime:
    return session.scalar(sa.select(now()))  # type: ignore[return-value]


# --- rows --------------------------------------------------------------------------------------------------------


def _rows(name: str, model: type[Any], keep: timedelta, old: Callable[[datetime], sa.ColumnElement[bool]]) -> CleanUp:
    """Clean up the rows of a table that meet a condition of the moment before which they are old."""
    return CleanUp(name, keep, partial(_delete, model, old), partial(_count, model, old))


def _delete(
    model: type[Any], old: Callable[[datetime], sa.ColumnElement[bool]], session: Session, before: datetime
) -> int:
    key = sa.inspect(model).primary_key
    # Locked in one order, and without waiting for whoever is at one of them.
    batch = sa.select(*key).where(old(before)).order_by(*key).limit(BATCH).with_for_update(skip_locked=True)
    statement = sa.delete(model).where(sa.tuple_(*key).in_(batch))
    return changed(session.execute(statement.execution_options(synchronize_session=False)))


def _count(
    model: type[Any], old: Callable[[datetime], sa.ColumnElement[bool]], session: Session, before: datetime
) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(model).where(old(before))) or 0


def _jobs_of(queue: Queue) -> CleanUp:
    def old(before: datetime) -> sa.ColumnElement[bool]:
        return sa.and_(
            Job.id < id_floor(before),
            Job.queue == queue,
            Job.state.in_(_OVER),
            Job.finished_at < before,
            Job.keep.is_(None),
        )

    return _rows(f"jobs of {queue}", Job, timedelta(days=settings().queues[queue].keep_days), old)


def _kept_long_enough(moment: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(Job.keep.is_not(None), Job.state.in_(_OVER), Job.finished_at + Job.keep < moment)


def _older(model: type[Any]) -> Callable[[datetime], sa.ColumnElement[bool]]:
    """Return the condition that a row was made before a moment, by its id."""
    return lambda moment: model.id < id_floor(moment)


def _over_and_older(moment: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(Export.id < id_floor(moment), Export.finished_at.is_not(None), Export.storage_key.is_(None))


def _silent(_: datetime) -> sa.ColumnElement[bool]:
    """Heartbeats go by the server's own time, as leases do."""
    return Process.seen_at < sa.func.now() - PROCESSES_LIVE


def _unfolded(session: Session, _: datetime) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(JobMinute).where(rollup.is_over(session))) or 0


# --- partitions --------------------------------------------------------------------------------------------------


def _parts(name: str, table: str, keep: timedelta) -> CleanUp:
    """Clean up by dropping whole parts of a table; counted in parts."""
    return CleanUp(
        f"{name}, parts",
        keep,
        lambda session, before: len(partitions.drop_older(session, table, before)),
        lambda session, before: len(partitions.older(session, table, before)),
    )


def _rows_outside_parts(name: str, table: str, keep: timedelta) -> CleanUp:
    """Clean up rows that came when their part had not been made."""
    found = sa.table(f"{table}_default", sa.column("id", sa.Uuid()))

    def remove(session: Session, before: datetime) -> int:
        batch = sa.select(found.c.id).where(found.c.id < id_floor(before)).order_by(found.c.id).limit(BATCH)
        return changed(session.execute(sa.delete(found).where(found.c.id.in_(batch))))

    def count(session: Session, before: datetime) -> int:
        query = sa.select(sa.func.count()).select_from(found).where(found.c.id < id_floor(before))
        return session.scalar(query) or 0

    return CleanUp(name, keep, remove, count)
