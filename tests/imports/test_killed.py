"""A worker that is killed in the middle of an import: another one goes on, and every row is counted once."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from tests.fixtures import Demo
from tests.harness import Program, beat, eventually, worker
from tests.imports.files import accepted, seen
from tests.messages.apply import one
from tests.webapp.api import Api

QUICK = {"LEASE": "4", "LEASE_RENEWAL": "1", "HTTP_TIMEOUT": "2", "UNKNOWN_WAIT": "7"}
ROWS = 90_000
Start = Callable[[Program], Program]


def scalar(statement: str) -> int:
    with db.transaction() as session:
        return session.scalar(sa.text(statement)) or 0


@pytest.mark.slow
def test_a_killed_worker_leaves_nothing_out_and_nothing_twice(
    demo: Demo, api: Api, start: Start, tmp_path: Path
) -> None:
    lines = []
    for n in range(ROWS):
        # Every tenth is somebody who was there a moment ago, every hundredth is nobody.
        number = "12" if n % 100 == 99 else f"+1415{n - 5 if n % 10 == 9 else n:07d}"
        lines.append(f"Person {n},{number},lead\n")
    programs = [start(beat(tmp_path, **QUICK)), start(_worker(tmp_path, 0))]
    import_id = accepted(api, "name,phone,tags\n" + "".join(lines), duplicates="update")
    kills = 0
    for kills in range(1, 3):
        seen_so_far = scalar("SELECT count(*) FROM import_parts")
        eventually(lambda before=seen_so_far: scalar("SELECT count(*) FROM import_parts") > before, "it goes on", 60)
        time.sleep(0.13 * kills)
        programs[-1].kill()
        shown = seen(api, import_id)
        if shown["state"] != "running":
            break
        # A mark is committed with what it counts: at every instant they agree.
        assert scalar("SELECT count(*) FROM contacts") == scalar("SELECT sum(created) FROM import_parts")
        programs.append(start(_worker(tmp_path, kills)))
    eventually(lambda: seen(api, import_id)["state"] == "finished", "it is finished", 90)
    shown = seen(api, import_id)
    assert kills >= 1 and one(Job, Job.task == "imports.run").claim_no >= 2
    # Those of 9, 19, …, but not 99, 199, …: they are the ones five lines above them.
    expected = {"rows": ROWS, "created": ROWS * 90 // 100, "updated": ROWS * 9 // 100, "rejected": ROWS // 100}
    assert shown["totals"] == {**expected, "skipped": 0}
    assert scalar("SELECT count(*) FROM contacts") == expected["created"]
    assert scalar("SELECT count(DISTINCT value) FROM identities") == expected["created"]
    assert scalar("SELECT count(*) FROM import_rejects") == expected["rejected"]


def _worker(log: Path, number: int) -> Program:
    return worker(log, "imports", name=f"bulk{number}", pool="prefork", concurrency=2, **QUICK)
