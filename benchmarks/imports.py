"""Rows per second of a clean file of contacts: through the API's own path and a real worker, beside two peers.

Ours ends with contacts, identities, tags and a journal, under every index of production. The peers put the same file
into one table with a unique index: COPY of the raw file, which is the machine's limit, and csv-parse with inserts of
1,000 rows in Node, which is what a team would write; neither looks at what it is given.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benchmarks import lab, measure
from benchmarks.sends import cpu_of_stores
from tests import harness
from tests.fixtures import make_demo

_TAGS = ("vip", "lead", "newsletter", "retail", "cold", "promo")
_TABLE = "peer_contacts"


@dataclass(frozen=True, slots=True)
class Imported:
    """One run: rows per second from the first to the last, the most memory of whoever read the file, in MB, and CPU
    seconds per 1,000 rows, of whoever read the file and with the stores.
    """

    per_second: float
    seconds: float
    peak_mb: float
    cpu_s_per_1000: float
    all_cpu_s_per_1000: float


def file_of(rows: int, *, email: bool = True) -> Path:
    """Write a clean file of so many people, as a CRM would export it: E.164 numbers, an address, a tag or two."""
    path = lab.HOME / f"contacts-{rows}-{email}.csv"
    if path.exists():
        return path
    with path.open("w") as file:
        file.write("name,phone,email,tags\n" if email else "name,phone,tags\n")
        for number in range(rows):
            # Not in order: neighbours in a file are no neighbours in an index.
            prefix = ("+551198", "+1415", "+49151", "+91981")[number % 4]
            phone = f"{prefix}{number * 7_919 % 10_000_000:07d}"
            tags = ";".join(_TAGS[each % 6] for each in range(number, number + 1 + number % 2))
            address = f"user{number}@example.com," if email else ""
            file.write(f"Contact {number},{phone},{address}{tags}\n")
    return path


def ours(path: Path, rows: int) -> Imported:
    """Measure a worker and a scheduler as `make run` starts them."""
    lab.clean()
    demo = make_demo()
    worker = harness.worker(lab.HOME, "imports", name="bulk", pool="prefork", concurrency=2)
    with lab.programs((worker, ""), (harness.beat(lab.HOME), "")):
        measure.until(lambda: lab.scalar("SELECT count(*) FROM processes WHERE kind = 'worker'") >= 1, 60)
        with _peak(lambda: worker.pid) as peak:
            before, stores = measure.cpu_seconds(worker.pid), cpu_of_stores()
            accept(demo, path)
            over = "SELECT count(*) FROM imports WHERE state NOT IN ('queued', 'running')"
            measure.until(lambda: lab.scalar(over) == 1, 300, every=0.1)
            cpu, stores = measure.cpu_seconds(worker.pid) - before, cpu_of_stores() - stores
        for table in ("contacts", "identities WHERE kind = 'phone'"):
            assert lab.scalar(f"SELECT count(*) FROM {table}") == rows, table
        assert lab.scalar("SELECT sum(created) FROM import_parts") == rows
        seconds = lab.scalar("SELECT extract(epoch FROM finished_at - started_at) FROM imports")
    return _imported(rows, seconds, peak[0], cpu, stores)


def raw_copy(path: Path, rows: int) -> Imported:
    """Measure COPY of the raw file into one table with a unique index."""
    lab.clean()
    with psycopg.connect(lab.DATABASE_URL) as connection:
        columns = _prepare(connection, path)
        started, cpu, stores = time.monotonic(), time.process_time(), cpu_of_stores()
        with connection.cursor() as cursor, path.open("rb") as file:
            with cursor.copy(f"COPY {_TABLE} ({columns}) FROM STDIN (FORMAT csv, HEADER)") as copy:
                while piece := file.read(1 << 20):
                    copy.write(piece)
        connection.commit()
        seconds, cpu, stores = time.monotonic() - started, time.process_time() - cpu, cpu_of_stores() - stores
        _check(connection, rows)
    return _imported(rows, seconds, psutil.Process().memory_info().rss / 2**20, cpu, stores)


def node(path: Path, rows: int) -> Imported:
    """Measure csv-parse and inserts of 1,000 rows."""
    lab.clean()
    with psycopg.connect(lab.DATABASE_URL) as connection:
        columns = _prepare(connection, path)
        peer = lab.Node("imports.js", PEER_DATABASE_URL=lab.DATABASE_URL, FILE=str(path), COLUMNS=columns, TABLE=_TABLE)
        stores = cpu_of_stores()
        with _peak(lambda: peer.pid) as peak, lab.programs((peer, "done")):
            seconds, cpu = (float(each) for each in peer.said().split()[-2:])
        stores = cpu_of_stores() - stores
        _check(connection, rows)
    return _imported(rows, seconds, peak[0], cpu, stores)


def _imported(rows: int, seconds: float, peak_mb: float, cpu: float, stores: float) -> Imported:
    return Imported(rows / seconds, seconds, peak_mb, cpu / rows * 1000, (cpu + stores) / rows * 1000)


def accept(demo: object, path: Path, duplicates: str = "skip") -> None:
    """Take a file in as the API does."""
    import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
    from crm_tasks.core import db
    from crm_tasks.core.jobs import ring
    from crm_tasks.core.types import new_id
    from crm_tasks.imports import intake, service
    from crm_tasks.imports.models import Duplicates
    from crm_tasks.imports.table import layout

    import_id = new_id()
    with path.open("rb") as file:
        taken = intake.take(file, import_id)
    with intake.folder().open(taken.stored.key) as kept:
        new = service.NewImport(
            id=import_id,
            taken=taken,
            layout=layout(kept),
            mapping=None,
            region=None,
            tags=(),
            duplicates=Duplicates(duplicates),
            filename=path.name,
            actor="bench",
        )
    with db.transaction() as session:
        service.accept(session, demo.workspace_id, new)  # type: ignore[attr-defined]
    ring.flush()


def _prepare(connection: psycopg.Connection, path: Path) -> str:
    """Make the peers' table and return its columns, which are those of the file."""
    with path.open() as file:
        columns = file.readline().strip()
    connection.execute(f"DROP TABLE IF EXISTS {_TABLE}")
    shape = ", ".join(f"{name} text" for name in columns.split(","))
    connection.execute(f"CREATE TABLE {_TABLE} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {shape})")
    connection.execute(f"CREATE UNIQUE INDEX ON {_TABLE} (phone)")
    connection.commit()
    return columns


def _check(connection: psycopg.Connection, rows: int) -> None:
    assert connection.execute(f"SELECT count(*) FROM {_TABLE}").fetchone() == (rows,)
    connection.execute(f"DROP TABLE {_TABLE}")
    connection.commit()


@contextmanager
def _peak(pid: Callable[[], int]) -> Iterator[list[float]]:
    """Watch how much memory a process and all below it have at most, in MB."""
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            try:
                most[0] = max(most[0], sum(measure.pss_mb(each) for each in measure.family(pid())))
            except (psutil.Error, AssertionError):
                continue

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()
