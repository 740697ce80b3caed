"""Exports in a worker as in production: memory stays flat, and a kill in the middle leaves nothing but the file."""

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from crm_tasks.core.jobs.model import Job
from tests.exports.files import asked, exported_rows, fetched, files, many, seen, sheets
from tests.fixtures import Demo
from tests.harness import Program, beat, descendants, eventually, worker
from tests.messages.apply import one
from tests.webapp.api import Api

QUICK = {"LEASE": "4", "LEASE_RENEWAL": "1", "HTTP_TIMEOUT": "2", "UNKNOWN_WAIT": "7"}
ROWS = 50_000
Start = Callable[[Program], Program]


def exporter(log: Path, number: int = 0) -> Program:
    return worker(log, "exports", name=f"exporter{number}", pool="prefork", concurrency=1, **QUICK)


def finished(api: Api, export_id: uuid.UUID, timeout: float = 90) -> dict:
    eventually(lambda: seen(api, export_id)["state"] in ("finished", "failed"), "it is over", timeout)
    shown = seen(api, export_id)
    assert shown["state"] == "finished", shown
    return shown


def peak(program: Program) -> int:
    """Return the most memory that the child of a worker ever had, in MB."""
    (child,) = descendants(program.pid)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.slow
def test_memory_is_flat_however_many_rows_there_are(demo: Demo, api: Api, start: Start, tmp_path: Path) -> None:
    start(beat(tmp_path, **QUICK))
    program = start(exporter(tmp_path))
    many(demo, ROWS // 10)
    for format in ("csv", "xlsx"):
        finished(api, asked(api, "contacts", format))
    before = peak(program)
    many(demo, ROWS - ROWS // 10, first=ROWS // 10)
    for format in ("csv", "xlsx"):
        shown = finished(api, asked(api, "contacts", format))
        assert shown["progress"]["rows"] == ROWS
    # All of it in memory would be more than a hundred.
    assert peak(program) - before < 15


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_a_killed_worker_leaves_nothing_but_the_whole_file(
    demo: Demo, api: Api, start: Start, tmp_path: Path, format: str
) -> None:
    many(demo, ROWS)
    start(beat(tmp_path, **QUICK))
    first = start(exporter(tmp_path))
    export_id = asked(api, "contacts", format)
    eventually(lambda: 0 < seen(api, export_id)["progress"]["rows"] < ROWS, "it is in the middle", 60)
    first.kill()
    assert files()
    start(exporter(tmp_path, 1))
    shown = finished(api, export_id)
    assert one(Job, Job.task == "exports.run").crashes == 1
    data = fetched(api.client, shown)
    ids = exported_rows(data) if format == "csv" else [row[0] for row in sheets(data)["contacts"][1:]]
    assert (len(ids), len(set(ids)), shown["progress"]["rows"]) == (ROWS, ROWS, ROWS)
    eventually(lambda: [path.stat().st_size for path in files()] == [shown["size"]], "only the file is left")
