"""One job's share of an import: batch after batch, each planned once and written in parts.

A batch is read ahead while the one before is written. Contacts that are new are written by two connections at once;
what changes contacts, the refused lines and the cursor come last, in one transaction. Whatever was cut off is done
again from the batch's beginning, but for the parts that are there: each leaves its mark in `import_parts`.
"""

import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.contacts import forgotten
from crm_tasks.contacts.models import AttributeType
from crm_tasks.core import task
from crm_tasks.core.db import driver, now, transaction
from crm_tasks.core.errors import LeaseLost, Permanent
from crm_tasks.core.log import get_logger
from crm_tasks.imports import apply, ids, intake, plan, service
from crm_tasks.imports.models import LIVE, Duplicates, Import, ImportPart, ImportState
from crm_tasks.imports.rows import Reader, Reject, Row
from crm_tasks.imports.table import Records, Unreadable
from crm_tasks.providers.storage import Gone

log = get_logger(__name__)

# Rows of one batch: some seconds of work at most, and all that is ever in memory is two of them.
BATCH = 20_000
# After so many seconds another job goes on, so that other imports have their turn.
SHARE = 30.0
# Fewer than these are written by one connection.
_WORTH_TWO = 1_000
_TRIES = 5
# The parts of a batch: contacts of its first lines, of the others, and all the rest.
_FIRST, _SECOND, _LAST = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An import as a job works on it."""

    import_id: uuid.UUID
    workspace_id: uuid.UUID
    key: str
    size: int
    delimiter: str
    header: Sequence[str]
    targets: Sequence[str]
    region: str
    tags: Sequence[str]
    types: dict[str, AttributeType]
    duplicates: Duplicates
    batch: int
    position: int
    line: int
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some lines of a file, and where the next ones begin."""

    number: int
    rows: list[Row]
    rejects: list[Reject]
    first_line: int
    position: int
    line: int
    last: bool

    @property
    def middle(self) -> int:
        """The line from which on a new contact is of the second part."""
        return (self.first_line + self.line) // 2


class Stopped(Exception):
    """The import was cancelled, or somebody else goes on with it."""


def begin(session: Session, import_id: uuid.UUID, job_id: uuid.UUID) -> Order | None:
    """Return what is to be done; None if it is not this job's to do any more."""
    found = session.get(Import, import_id, with_for_update=True)
    if found is None or found.state not in LIVE or found.job_id != job_id:
        return None
    if found.storage_key is None:
        raise Permanent("its file is gone", code="file_gone")
    found.state = ImportState.RUNNING
    found.started_at = found.started_at or session.scalar(sa.select(now()))
    return Order(
        import_id=found.id,
        workspace_id=found.workspace_id,
        key=found.storage_key,
        size=found.size,
        delimiter=found.delimiter,
        header=found.header,
        targets=found.targets,
        region=found.region,
        tags=found.tags,
        types=service.types(session, found.workspace_id),
        duplicates=found.duplicates,
        batch=found.batch,
        position=found.position,
        line=found.line,
        facts={
            "import_id": found.id,
            "workspace_id": found.workspace_id,
            "actor": found.actor,
            "at": found.created_at,
            "consent_id": lambda line: ids.of_consent(import_id, line),
        },
    )


def run(order: Order) -> None:
    """Go on with an import until it is through or another job is to go on."""
    until = time.monotonic() + SHARE
    try:
        with closing(_ahead(_batches(order))) as batches, ThreadPoolExecutor(1) as second:
            for batch in batches:
                task.progress(batch.position, order.size)
                _write(order, batch, second, hand_over=time.monotonic() > until)
                if batch.last or task.job().finished:
                    break
                task.advanced()
    except Stopped:
        raise LeaseLost("the import was cancelled, or another job goes on with it") from None
    except (Unreadable, Gone) as error:
        code, reason = ("file_gone", "The file is gone.") if isinstance(error, Gone) else ("unreadable", str(error))
        with task.finishing() as session:
            service.end(session, _locked(session, order), ImportState.FAILED, code=code, reason=reason)
    if task.job().finished:
        with transaction() as session:
            service.forget_file(session, order.import_id)


# --- reading -----------------------------------------------------------------------------------------------------


def _batches(order: Order) -> Iterator[Batch]:
    reader = Reader(order.header, order.targets, region=order.region, tags=order.tags, types=order.types)
    with intake.folder().open(order.key) as file:
        records = Records(file, order.delimiter, order.position, order.line)
        lines = iter(records)
        number, last = order.batch, False
        while not last:
            first, rows, rejects = records.line + 1, [], []
            for _ in range(BATCH):
                if (each := next(lines, None)) is None:
                    last = True
                    break
                read = reader.read(*each)
                rows.append(read) if isinstance(read, Row) else rejects.append(read)
            yield Batch(
                number=number,
                rows=rows,
                rejects=rejects,
                first_line=first,
                position=records.position,
                line=records.line,
                last=last,
            )
            number += 1


def _ahead(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """Read the next batch while one is written."""
    with ThreadPoolExecutor(1) as reading:
        coming = reading.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reading.submit(next, batches, None)
            yield batch


# --- writing -----------------------------------------------------------------------------------------------------


def _write(order: Order, batch: Batch, second: ThreadPoolExecutor, *, hand_over: bool) -> None:
    """Write a batch; planned again if somebody else has made one of its people meanwhile."""
    for attempt in range(1, _TRIES + 1):
        try:
            made = _planned(order, batch)
            _create(order, batch, made, second)
            _settle(order, batch, made, hand_over=hand_over)
            return
        except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected) as error:
            log.info("import.planned_again", import_id=str(order.import_id), batch=batch.number, attempt=attempt)
            if attempt == _TRIES:
                raise Permanent("the same people were changed again and again meanwhile", code="contended") from error


def _planned(order: Order, batch: Batch) -> plan.Plan:
    with transaction() as session:
        known = apply.whose(driver(session), order.workspace_id, batch.rows)
    for names in (known.phones, known.emails, known.external_ids):
        for name in [name for name, contact_id in names.items() if _is_made_by(order, batch, contact_id)]:
            del names[name]
    return plan.make(batch.rows, known, order.duplicates)


def _is_made_by(order: Order, batch: Batch, contact_id: uuid.UUID) -> bool:
    """Say whether a contact comes from this very batch, of which a part was written before it was cut off."""
    line = ids.line_of(order.import_id, contact_id)
    return line is not None and batch.first_line <= line <= batch.line


def _create(order: Order, batch: Batch, made: plan.Plan, second: ThreadPoolExecutor) -> None:
    middle = batch.middle
    rows = [person.row for person in made.created]
    first_rows = [row for row in rows if row.line < middle]
    second_rows = [row for row in rows if row.line >= middle]
    if len(rows) < _WORTH_TWO:
        _create_part(order, batch, _FIRST, first_rows)
        _create_part(order, batch, _SECOND, second_rows)
        return
    beside = second.submit(_create_part, order, batch, _SECOND, second_rows)
    try:
        _create_part(order, batch, _FIRST, first_rows)
    finally:
        problem = beside.exception()
    if problem is not None:
        raise problem


def _create_part(order: Order, batch: Batch, part: int, rows: list[Row]) -> None:
    if not rows:
        return
    with transaction() as session:
        # Shared by both parts; who cancels waits for them, and no part begins afterwards.
        _locked(session, order, batch, shared=True)
        if _mark(session, order, batch, part, created=len(rows)):
            _recognise(session, order, rows)
            made = [ids.of_line(order.import_id, row.line) for row in rows]
            apply.create(driver(session), rows, made, order.facts)


def _settle(order: Order, batch: Batch, made: plan.Plan, *, hand_over: bool) -> None:
    """Write all the rest and move the cursor; with the last batch of a job, end the job too."""
    ends = batch.last or hand_over
    opened: AbstractContextManager[Session] = task.finishing() if ends else transaction()
    with opened as session:
        found = _locked(session, order, batch)
        counts = {"updated": made.updated, "skipped": made.skipped, "rejected": len(batch.rejects)}
        if any(counts.values()):
            _mark(session, order, batch, _LAST, **counts)
        _recognise(session, order, [person.row for person in made.changed])
        connection = driver(session)
        apply.change(connection, made.changed, order.duplicates, order.facts)
        apply.reject(connection, order.import_id, batch.rejects)
        found.batch, found.position, found.line = batch.number + 1, batch.position, batch.line
        session.flush()
        if batch.last:
            service.end(session, found, ImportState.FINISHED)
        elif hand_over:
            found.job_id = service.enqueue_run(session, found)


def _recognise(session: Session, order: Order, rows: Sequence[Row]) -> None:
    """Let what erased people had refused be in force for who comes back with a file."""
    named = ([row.phone, row.email, *(value for _, value in row.others)] for row in rows)
    forgotten.recognise(session, order.workspace_id, [value for each in named for value in each if value])


def _mark(session: Session, order: Order, batch: Batch, part: int, **counts: int) -> bool:
    """Say what a part comes to; False if it is written already."""
    values = {**dict.fromkeys(service.COUNTS, 0), **counts}
    statement = insert(ImportPart).values(import_id=order.import_id, batch=batch.number, part=part, **values)
    return session.execute(statement.on_conflict_do_nothing().returning(ImportPart.part)).first() is not None


def _locked(session: Session, order: Order, batch: Batch | None = None, *, shared: bool = False) -> Import:
    """Return the import, locked.

    Raises:
        Stopped: it does not run any more, or is at another batch.
    """
    query = sa.select(Import).where(Import.id == order.import_id).with_for_update(read=shared)
    found = session.scalar(query)
    if found is None or found.state not in LIVE or (batch is not None and found.batch != batch.number):
        raise Stopped
    return found
