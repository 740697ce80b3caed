"""Imports as people see them: accepted, looked at, cancelled, undone; and what each of them came to."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import phonenumbers
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.contacts.models import Attribute, AttributeType
from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound, Outcome, did_you_mean
from crm_tasks.core.jobs import repair
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import id_floor
from crm_tasks.imports import intake, mapping
from crm_tasks.imports.intake import Taken
from crm_tasks.imports.models import LIVE, OVER, Duplicates, Import, ImportPart, ImportReject, ImportState
from crm_tasks.imports.table import Layout
from crm_tasks.notifications.models import Severity
from crm_tasks.notifications.service import notify
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish
from crm_tasks.workspaces import service as workspaces

log = get_logger(__name__)

COUNTS = ("created", "updated", "skipped", "rejected")
MOST_TAGS, LONGEST_TAG = 20, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImport:
    """A file that was taken in, and how it is to be imported."""

    id: uuid.UUID
    taken: Taken
    layout: Layout
    mapping: Mapping[str, str] | None
    region: str | None
    tags: Sequence[str]
    duplicates: Duplicates
    filename: str | None
    actor: str


def accept(session: Session, workspace_id: uuid.UUID, new: NewImport) -> Import:
    """Keep an import and the job that works on it.

    Raises:
        Invalid: the mapping does not fit the file, or the region is none.
    """
    targets = mapping.targets(new.layout.header, new.mapping)
    _register(session, workspace_id, targets)
    made = Import(
        id=new.id,
        workspace_id=workspace_id,
        state=ImportState.QUEUED,
        actor=new.actor,
        filename=new.filename,
        size=new.taken.stored.size,
        sha256=new.taken.stored.sha256,
        storage_key=new.taken.stored.key,
        encoding=new.taken.encoding,
        delimiter=new.layout.delimiter,
        warnings=list(new.taken.warnings),
        header=new.layout.header,
        targets=targets,
        region=region_of(session, workspace_id, new.region),
        tags=_tags(new.tags),
        duplicates=new.duplicates,
        position=new.layout.position,
        line=new.layout.line,
    )
    session.add(made)
    session.flush()
    made.job_id = enqueue_run(session, made)
    session.flush()
    session.refresh(made)
    log.info("import.accepted", import_id=str(made.id), bytes=made.size)
    return made


def enqueue_run(session: Session, found: Import) -> uuid.UUID:
    """Have an import gone on with."""
    return _enqueue(session, found, "imports.run")


def enqueue_undo(session: Session, found: Import) -> uuid.UUID:
    """Have an undo gone on with."""
    return _enqueue(session, found, "imports.undo")


def _enqueue(session: Session, found: Import, task: str) -> uuid.UUID:
    args, scopes = {"import_id": found.id}, [f"import:{found.id}"]
    return enqueue(session, task, args=args, workspace_id=found.workspace_id, scopes=scopes)


def region_of(session: Session, workspace_id: uuid.UUID, region: str | None) -> str:
    """Return the region in which numbers without a country are read: the one asked for, or the workspace's."""
    if region is None:
        return workspaces.get(session, workspace_id).region
    if region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        hint = did_you_mean(region.upper(), phonenumbers.SUPPORTED_REGIONS)
        remedy = f"Write a country of two letters, such as BR.{hint}"
        raise Invalid(f"{region[:20]!r} is not a region.", fields=[FieldError("region", remedy, "bad_region")])
    return region.upper()


def _tags(tags: Sequence[str]) -> list[str]:
    found = sorted({" ".join(tag.lower().split()) for tag in tags} - {""})
    if len(found) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in found):
        remedy = f"Give at most {MOST_TAGS} tags of at most {LONGEST_TAG} characters."
        raise Invalid("These are too many or too long tags.", fields=[FieldError("tags", remedy, "bad_tags")])
    return found


def _register(session: Session, workspace_id: uuid.UUID, targets: Sequence[str]) -> None:
    """Define attributes that are new; text, if the mapping does not say otherwise."""
    named = dict(filter(None, map(mapping.attribute, targets)))
    if not named:
        return
    rows = [
        {"workspace_id": workspace_id, "name": name, "type": type or AttributeType.TEXT}
        for name, type in sorted(named.items())
    ]
    session.execute(insert(Attribute).values(rows).on_conflict_do_nothing())
    known = types(session, workspace_id)
    problems = [
        FieldError("mapping", f"The attribute {name!r} is a {known[name]}, not a {type}.", "bad_type")
        for name, type in named.items()
        if type is not None and known[name] is not type
    ]
    if problems:
        raise Invalid("The mapping does not fit.", code="bad_mapping", fields=problems)


def types(session: Session, workspace_id: uuid.UUID) -> dict[str, AttributeType]:
    """Return the attributes of a workspace with their types."""
    query = sa.select(Attribute.name, Attribute.type).where(Attribute.workspace_id == workspace_id)
    return {row.name: row.type for row in session.execute(query)}


def get(session: Session, workspace_id: uuid.UUID, import_id: uuid.UUID, *, lock: bool = False) -> Import:
    """Return an import of a workspace.

    Raises:
        NotFound: there is none of this id here.
    """
    query = sa.select(Import).where(Import.id == import_id, Import.workspace_id == workspace_id)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound(f"There is no import {import_id}.", code="import_not_found")
    return found


def listed(
    session: Session, workspace_id: uuid.UUID, *, before: uuid.UUID | None = None, limit: int = 50
) -> list[Import]:
    """Return imports, the newest first."""
    query = sa.select(Import).where(Import.workspace_id == workspace_id)
    if before is not None:
        query = query.where(Import.id < before)
    return list(session.scalars(query.order_by(Import.id.desc()).limit(limit)))


def totals(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, int]]:
    """Return what imports have come to: each row is in exactly one of four figures, and `rows` is their sum."""
    query = sa.select(
        ImportPart.import_id, *(sa.func.sum(getattr(ImportPart, name)).label(name) for name in COUNTS)
    ).where(ImportPart.import_id.in_(ids))
    found = {row.import_id: row for row in session.execute(query.group_by(ImportPart.import_id))}
    shown = {id: {name: int(getattr(found.get(id), name, 0)) for name in COUNTS} for id in ids}
    return {id: {"rows": sum(counts.values()), **counts} for id, counts in shown.items()}


def rejects(
    session: Session, import_id: uuid.UUID, *, after: int, limit: int = 5_000
) -> list[tuple[int, str, str, str, str]]:
    """Return refused lines after one: line, column, value, code, reason."""
    query = sa.select(
        ImportReject.line, ImportReject.column, ImportReject.value, ImportReject.code, ImportReject.reason
    ).where(ImportReject.import_id == import_id, ImportReject.line > after)
    found = session.execute(query.order_by(ImportReject.line).limit(limit))
    return [(line, column, value, code, reason) for line, column, value, code, reason in found]


def cancel(session: Session, workspace_id: uuid.UUID, import_id: uuid.UUID, *, actor: str) -> Import:
    """Stop an import where it is. What it has brought stays, and can be undone.

    Raises:
        NotFound: no such import. Conflict: it is over.
    """
    found = get(session, workspace_id, import_id, lock=True)
    if found.state not in LIVE:
        raise Conflict(f"This import is {found.state}; only what waits or runs can be cancelled.", code="import_over")
    end(session, found, ImportState.CANCELLED, reason=f"cancelled by {actor}")
    session.flush()
    if found.job_id is not None:
        with suppress(NotFound, Conflict):  # it has just ended: what it finds is a cancelled import
            repair.cancel(session, found.job_id, actor=actor, reason="the import was cancelled")
    return found


def undo(session: Session, workspace_id: uuid.UUID, import_id: uuid.UUID) -> Import:
    """Take back what an import did, by a job.

    Raises:
        NotFound: no such import. Conflict: it is not over, was undone, or is too old.
    """
    found = get(session, workspace_id, import_id, lock=True)
    if found.state not in OVER:
        raise Conflict(f"This import is {found.state}; only one that is over can be undone.", code="import_not_over")
    if session.scalar(sa.select(now() > undo_until(found))):
        days = settings().import_days
        raise Conflict(f"This import is older than {days} days; what it changed is not known any more.", code="too_old")
    found.state, found.undo_step, found.undo_cursor = ImportState.UNDOING, None, None
    found.undone = {"removed": 0, "restored": 0, "kept": 0}
    found.job_id = enqueue_undo(session, found)
    session.flush()
    return found


def undo_until(found: Import) -> Any:
    """Return until when an import can be undone."""
    return found.created_at + timedelta(days=settings().import_days)


def end(
    session: Session, found: Import, state: ImportState, *, code: str | None = None, reason: str | None = None
) -> None:
    """Bring an import to its end and tell so."""
    found.state, found.reason_code, found.reason = state, code, reason
    found.finished_at = session.scalar(sa.select(now()))
    session.flush()
    counts = totals(session, [found.id])[found.id]
    data = {"import_id": found.id, "state": state, "totals": counts, "reason": code}
    publish(session, found.workspace_id, EventType.IMPORT_FINISHED, data)
    if state is not ImportState.CANCELLED:
        _tell(session, found, counts)
    log.info("import.ended", import_id=str(found.id), state=state, code=code, **counts)


def _tell(session: Session, found: Import, counts: Mapping[str, int]) -> None:
    text = f"{counts['rows']:,} rows: " + ", ".join(f"{counts[name]:,} {name}" for name in COUNTS) + "."
    failed = found.state is ImportState.FAILED
    notify(
        session,
        found.workspace_id,
        "import.failed" if failed else "import.finished",
        subject=f"import:{found.id}",
        severity=Severity.ERROR if failed else Severity.WARNING if counts["rejected"] else Severity.INFO,
        title="An import has failed" if failed else "An import is finished",
        text=f"{found.reason} {text}" if failed else text,
    )


def follow(session: Session, state: JobState, error: BaseException | None, import_id: str) -> None:
    """Keep an import in step with a job of it that leaves without success."""
    found = session.get(Import, uuid.UUID(import_id), with_for_update=True, populate_existing=True)
    if found is None:
        return
    if state is JobState.QUEUED:
        if found.state is ImportState.FAILED:  # a person has sent its dead job back
            found.state, found.finished_at, found.reason_code, found.reason = ImportState.QUEUED, None, None, None
        return
    if found.state not in LIVE:
        return
    if state is JobState.CANCELLED:
        end(session, found, ImportState.CANCELLED, reason="its job was cancelled")
        return
    known = isinstance(error, Outcome)
    code = error.code if known else type(error).__name__ if error else str(state)  # type: ignore[union-attr]
    text = f"The import stopped: {error if known else code}. Its job is among the dead letters; retried, it goes on."
    end(session, found, ImportState.FAILED, code=code, reason=text)


def forget_file(session: Session, import_id: uuid.UUID) -> None:
    """Remove the file of an import that is over: what it had is in the tables now."""
    found = session.get(Import, import_id, with_for_update=True, populate_existing=True)
    if found is None or found.state in LIVE or found.storage_key is None:
        return
    intake.folder().delete(found.storage_key)
    found.storage_key = None


def forget_files(session: Session, before: datetime, *, limit: int = 500) -> int:
    """Remove files of imports that came before a moment and are over, and return how many that were."""
    query = sa.select(Import.id).where(*_left(before)).order_by(Import.id).limit(limit)
    found = list(session.scalars(query))
    for import_id in found:
        forget_file(session, import_id)
    if len(found) < limit and (swept := intake.folder().sweep() + _forget_abandoned(session)):
        log.info("import.swept", files=swept)
    return len(found)


def _forget_abandoned(session: Session) -> int:
    """Remove files that were taken in a day ago and never made an import, and return how many that were."""
    folder = intake.folder()
    old = folder.old()
    known = set(session.scalars(sa.select(Import.storage_key).where(Import.storage_key.in_(old))))
    abandoned = [key for key in old if key not in known]
    for key in abandoned:
        folder.delete(key)
    return len(abandoned)


def count_files(session: Session, before: datetime) -> int:
    """Return how many files `forget_files` would remove."""
    return session.scalar(sa.select(sa.func.count()).select_from(Import).where(*_left(before))) or 0


def _left(before: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """Say which imports have a file that nobody needs: a dead one may go on, but not for ever."""
    return Import.id < id_floor(before), Import.storage_key.is_not(None), Import.state.not_in(LIVE)
