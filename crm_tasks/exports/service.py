"""Exports as people see them: asked for, looked at, cancelled, fetched, removed."""

import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.service import states
from crm_tasks.config import settings
from crm_tasks.contacts import audience as audiences
from crm_tasks.core.db import dumps, now
from crm_tasks.core.errors import Conflict, NotFound, Outcome, TimeLimit
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import id_floor
from crm_tasks.exports import links
from crm_tasks.exports.links import Link
from crm_tasks.exports.models import LIVE, Export, ExportFormat, ExportKind, ExportState
from crm_tasks.notifications.models import Severity
from crm_tasks.notifications.service import notify
from crm_tasks.providers.storage import Gone, exports
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish
from crm_tasks.workspaces import audit
from crm_tasks.workspaces import service as workspaces

log = get_logger(__name__)

# Of one workspace at once: a disk is soon full.
MOST_LIVE = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is."""

    rows: int
    total: int | None
    percent: float | None
    rows_per_second: float | None
    seconds_left: float | None


def start(
    session: Session,
    workspace_id: uuid.UUID,
    kind: ExportKind,
    format: ExportFormat,
    filters: Mapping[str, Any],
    *,
    actor: str,
) -> Export:
    """Accept an export: the row and its job. `filters` as `ExportIn` reads them.

    Raises:
        NotFound: no such channel, segment or campaign here. Conflict: too many are being made.
    """
    _check(session, workspace_id, filters)
    _check_room(session, workspace_id)
    made = Export(
        workspace_id=workspace_id, kind=kind, format=format, filters=orjson.loads(dumps(dict(filters))), actor=actor
    )
    session.add(made)
    session.flush()
    made.job_id = enqueue(
        session,
        "exports.run",
        args={"export_id": made.id},
        workspace_id=workspace_id,
        scopes=[f"export:{made.id}"],
    )
    session.flush()
    session.refresh(made)
    audit.note(session, export_id=str(made.id), kind=str(kind))
    log.info("export.accepted", export_id=str(made.id), kind=kind, format=format)
    return made


def _check(session: Session, workspace_id: uuid.UUID, filters: Mapping[str, Any]) -> None:
    """Look for what the filters name, while somebody still waits for the answer."""
    if "audience" in filters:
        audiences.condition(session, workspace_id, filters["audience"])
    if "channel_id" in filters:
        workspaces.channel(session, workspace_id, filters["channel_id"])
    if "campaign_id" in filters:
        states.get(session, workspace_id, filters["campaign_id"])


def _check_room(session: Session, workspace_id: uuid.UUID) -> None:
    # One after the other, so that two at once are counted.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"exports:{workspace_id}"))))
    live = sa.select(sa.func.count()).where(Export.workspace_id == workspace_id, Export.state.in_(LIVE))
    if (session.scalar(live) or 0) >= MOST_LIVE:
        raise Conflict(
            f"{MOST_LIVE} exports of this workspace are being made.",
            code="too_many_exports",
            hint="Wait for one to finish, or cancel one.",
        )


def get(session: Session, workspace_id: uuid.UUID, export_id: uuid.UUID, *, lock: bool = False) -> Export:
    """Return an export of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    query = sa.select(Export).where(Export.id == export_id, Export.workspace_id == workspace_id)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound(f"There is no export {export_id}.", code="export_not_found")
    return found


def listed(
    session: Session, workspace_id: uuid.UUID, *, before: uuid.UUID | None = None, limit: int = 50
) -> list[Export]:
    """Return exports, the newest first."""
    query = sa.select(Export).where(Export.workspace_id == workspace_id)
    if before is not None:
        query = query.where(Export.id < before)
    return list(session.scalars(query.order_by(Export.id.desc()).limit(limit)))


def progress(found: Export, moment: datetime) -> Progress:
    """Return how far an export is at a moment."""
    seconds = ((found.finished_at or moment) - found.started_at).total_seconds() if found.started_at else 0
    rate = found.rows / seconds if seconds > 0 and found.rows else None
    percent = left = None
    if found.total is not None and found.state in LIVE:
        percent = min(100.0, 100 * found.rows / found.total) if found.total else 0.0
        left = max(0, found.total - found.rows) / rate if rate and found.state is ExportState.RUNNING else None
    if found.storage_key is not None:
        percent = 100.0
    return Progress(found.rows, found.total, percent, rate, left)


def kept_until(found: Export) -> datetime | None:
    """Return until when the file is kept; None if there is none."""
    if found.storage_key is None or found.finished_at is None:
        return None
    return found.finished_at + timedelta(days=settings().export_days)


def link(found: Export, moment: datetime) -> Link | None:
    """Return a new link to the file, None if there is none."""
    until = kept_until(found)
    return links.link(found.id, moment, until) if until is not None else None


def opened(session: Session, wanted: Link) -> tuple[Export, BinaryIO] | None:
    """Open the file of a link; None if it has expired or the file is gone.

    Raises:
        NotFound: there never was such an export.
    """
    found = session.get(Export, wanted.export_id, with_for_update=True)
    if found is None:
        raise NotFound("There is no such file.", code="export_not_found")
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    if moment >= wanted.expires_at or found.storage_key is None:
        return None
    try:
        file = exports().open(found.storage_key)
    except Gone:
        return None
    found.downloads, found.downloaded_at = found.downloads + 1, moment
    log.info("export.fetched", export_id=str(found.id), bytes=found.size)
    return found, file


def cancel(session: Session, workspace_id: uuid.UUID, export_id: uuid.UUID, *, actor: str) -> Export:
    """Stop an export; nothing is left of its file.

    Raises:
        NotFound: no such export. Conflict: it is over.
    """
    found = get(session, workspace_id, export_id, lock=True)
    if found.state not in LIVE:
        raise Conflict(f"This export is {found.state}; only what waits or runs can be cancelled.", code="export_over")
    _stop(session, found, f"cancelled by {actor}")
    return found


def remove(session: Session, workspace_id: uuid.UUID, export_id: uuid.UUID, *, actor: str) -> Export:
    """Delete the file of an export, or stop one that is being made. That it was made stays known.

    Raises:
        NotFound: no such export.
    """
    found = get(session, workspace_id, export_id, lock=True)
    if found.state in LIVE:
        _stop(session, found, f"cancelled by {actor}")
    elif found.storage_key is not None:
        _remove(found, "deleted", f"The file was deleted by {actor}.")
        session.flush()
    return found


def _stop(session: Session, found: Export, reason: str) -> None:
    end(session, found, ExportState.CANCELLED, reason=reason)
    if found.job_id is not None:
        with suppress(NotFound, Conflict):  # it has just ended: what it finds is a cancelled export
            repair.cancel(session, found.job_id, actor="an export", reason=reason)


def _remove(found: Export, code: str, reason: str) -> None:
    exports().forget(found.id)
    found.state, found.storage_key = ExportState.REMOVED, None
    found.reason_code, found.reason = code, reason


def end(
    session: Session, found: Export, state: ExportState, *, code: str | None = None, reason: str | None = None
) -> None:
    """Bring an export to its end and tell so; of one without success nothing stays but the row."""
    found.state, found.reason_code, found.reason = state, code, reason
    found.finished_at = session.scalar(sa.select(now()))
    session.flush()
    if state is not ExportState.FINISHED:
        exports().forget(found.id)
    facts = {"export_id": found.id, "state": state, "kind": found.kind, "format": found.format, "rows": found.rows}
    publish(session, found.workspace_id, EventType.EXPORT_FINISHED, {**facts, "bytes": found.size, "reason": code})
    if state is not ExportState.CANCELLED:
        _tell(session, found)
    log.info("export.ended", export_id=str(found.id), state=state, code=code, rows=found.rows, bytes=found.size)


def _tell(session: Session, found: Export) -> None:
    failed = found.state is ExportState.FAILED
    what = found.kind.replace("_", " ")
    made = f"{found.rows:,} rows of {what} are ready to download, for {settings().export_days} days."
    notify(
        session,
        found.workspace_id,
        "export.failed" if failed else "export.finished",
        subject=f"export:{found.id}",
        severity=Severity.ERROR if failed else Severity.INFO,
        title="An export has failed" if failed else "An export is finished",
        text=found.reason or "" if failed else made,
        link=f"/admin/exports/{found.id}",
    )


def follow(session: Session, state: JobState, error: BaseException | None, export_id: str) -> None:
    """Keep an export in step with a job of it that leaves without success."""
    found = session.get(Export, uuid.UUID(export_id), with_for_update=True, populate_existing=True)
    if found is None:
        return
    if state is JobState.QUEUED:
        if found.state in LIVE or found.state is ExportState.FAILED:  # its next attempt, or a person sent it back
            found.state, found.rows, found.total = ExportState.QUEUED, 0, None
            found.started_at = found.finished_at = found.reason_code = found.reason = None
        return
    if found.state not in LIVE:
        return
    if state is JobState.CANCELLED:
        end(session, found, ExportState.CANCELLED, reason="its job was cancelled")
        return
    known = isinstance(error, Outcome)
    code = error.code if known else type(error).__name__ if error else str(state)  # type: ignore[union-attr]
    hint = (
        "Ask for less at once (fewer contacts, a shorter time), or for CSV, which is faster."
        if isinstance(error, TimeLimit)
        else ""
    )
    text = f"The export stopped: {error if known else code}. {hint or 'Its job is among the dead letters.'}"
    end(session, found, ExportState.FAILED, code=code, reason=text)


def forget_files(session: Session, before: datetime, *, limit: int = 500) -> int:
    """Remove files that were finished before a moment, a batch at a time, and return how many that were."""
    query = sa.select(Export).where(*_old(before)).order_by(Export.id).limit(limit).with_for_update(skip_locked=True)
    found = list(session.scalars(query))
    for each in found:
        _remove(each, "expired", f"The file was removed after {settings().export_days} days.")
    session.flush()
    if len(found) < limit and (swept := exports().sweep()):
        log.info("export.swept", files=swept)
    return len(found)


def count_files(session: Session, before: datetime) -> int:
    """Return how many files `forget_files` would remove."""
    return session.scalar(sa.select(sa.func.count()).select_from(Export).where(*_old(before))) or 0


def _old(before: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return Export.storage_key.is_not(None), Export.id < id_floor(before), Export.finished_at < before
