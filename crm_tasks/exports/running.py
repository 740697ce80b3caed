"""One job's work on an export: the file from its first row to its last, and only then its place in the store.

Whatever was cut off begins anew: what it left half made is removed by who begins, and by who finishes.
"""

import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import task
from crm_tasks.core.db import changed, now, transaction
from crm_tasks.core.errors import LeaseLost
from crm_tasks.exports import letters, people, service, talk
from crm_tasks.exports.kinds import Kind, Order
from crm_tasks.exports.models import LIVE, Export, ExportFormat, ExportKind, ExportState
from crm_tasks.exports.writers import WRITERS, Writer
from crm_tasks.providers.storage import Stored, exports

KINDS: dict[ExportKind, Kind] = {
    ExportKind.CONTACTS: people.CONTACTS,
    ExportKind.CONVERSATIONS: people.CONVERSATIONS,
    ExportKind.MESSAGES: talk.MESSAGES,
    ExportKind.RECIPIENTS: talk.RECIPIENTS,
    ExportKind.DEAD_LETTERS: letters.DEAD_LETTERS,
}
_SHOWN_EVERY = 1.0
_PIECE = 1_048_576
_LARGEST = 2**40


@dataclass(frozen=True, slots=True)
class Work:
    """An export as a job works on it."""

    order: Order
    kind: ExportKind
    format: ExportFormat
    job_id: uuid.UUID


class Stopped(Exception):
    """The export was cancelled, or somebody else makes it."""


def begin(session: Session, export_id: uuid.UUID, job_id: uuid.UUID) -> Work | None:
    """Return what is to be done; None if it is not this job's to do any more."""
    found = session.get(Export, export_id, with_for_update=True)
    if found is None or found.state not in LIVE or found.job_id != job_id:
        return None
    exports().forget(export_id)
    found.state, found.rows, found.total = ExportState.RUNNING, 0, None
    found.started_at = session.scalar(sa.select(now()))
    columns = KINDS[found.kind].columns(session, found.workspace_id)
    order = Order(export_id, found.workspace_id, found.filters, columns)
    return Work(order, found.kind, found.format, job_id)


def run(work: Work) -> None:
    """Make the file, keep it, and end the job with the export."""
    folder, export_id = exports(), work.order.export_id
    place = folder.workplace(export_id)
    try:
        path = place / f"{work.kind}.{work.format}"
        rows = _write(work, path)
        stored = folder.save(_pieces(path), name=export_id, limit=_LARGEST)
        try:
            with task.finishing() as session:
                _finish(session, work, stored, rows)
        except BaseException:
            _give_up(export_id, stored.key)
            raise
    except Stopped:
        raise LeaseLost("the export was cancelled, or another job makes it") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    folder.forget(export_id, but=stored.key)


def _write(work: Work, path: Path) -> int:
    writer: Writer = WRITERS[work.format](path, work.order.columns, work.kind.replace("_", " "))
    show = _Shown(work)
    try:
        for page in KINDS[work.kind].pages(work.order):
            writer.write(page)
            show.more(len(page))
    except BaseException:
        writer.drop()
        raise
    writer.close()
    return show.rows


def _total(work: Work) -> int | None:
    """Return how many rows there are; None if counting alone would take too long."""
    try:
        with transaction() as session:
            return KINDS[work.kind].count(session, work.order)
    except sa.exc.OperationalError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled):
            return None
        raise


class _Shown:
    """How far it is, told once a second; whoever tells learns whether the export is still wanted."""

    def __init__(self, work: Work) -> None:
        self._work, self._total, self._at, self.rows = work, _total(work), 0.0, 0

    def more(self, rows: int) -> None:
        self.rows += rows
        task.check()
        if time.monotonic() - self._at < _SHOWN_EVERY:
            return
        self._at = time.monotonic()
        with transaction() as session:
            _show(session, self._work, self.rows, self._total)
        task.progress(self.rows, self._total, self._work.kind)


def _show(session: Session, work: Work, rows: int, total: int | None) -> None:
    mine = sa.update(Export).where(Export.id == work.order.export_id, *_mine(work)).values(rows=rows, total=total)
    if not changed(session.execute(mine.execution_options(synchronize_session=False))):
        raise Stopped


def _mine(work: Work) -> tuple[sa.ColumnElement[bool], ...]:
    return Export.state == ExportState.RUNNING, Export.job_id == work.job_id


def _finish(session: Session, work: Work, stored: Stored, rows: int) -> None:
    query = sa.select(Export).where(Export.id == work.order.export_id, *_mine(work)).with_for_update()
    found = session.scalar(query)
    if found is None:
        raise Stopped
    found.rows, found.size, found.storage_key = rows, stored.size, stored.key
    service.end(session, found, ExportState.FINISHED)


def _give_up(export_id: uuid.UUID, key: str) -> None:
    """Take the file away again, unless it is the export's after all, or somebody else makes it at this moment."""
    with transaction() as session:
        found = session.get(Export, export_id, with_for_update=True)
        if found is None or (found.state not in LIVE and found.storage_key != key):
            exports().delete(key)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(partial(file.read, _PIECE), b"")
