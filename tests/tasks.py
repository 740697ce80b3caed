"""Tasks that do what a test wants: known to workers started with `-I tests.tasks`."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.celery import app
from crm_tasks.core import db
from crm_tasks.core.errors import Permanent, Snooze, Transient
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.task import check, finishing, job, progress


@app.task(name="messages.test_note")
def note(path: str, text: str = "x") -> dict[str, Any]:
    """Append a line to a file."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")
    return {"wrote": text}


@app.task(name="messages.test_nap")
def nap(seconds: float, path: str = "") -> None:
    """Sleep, after saying so."""
    if path:
        note.run(path, str(job().id))
    time.sleep(seconds)


@app.task(name="messages.test_fail", editable=("kind", "message"))
def fail(kind: str = "transient", message: str = "it broke", code: str = "") -> None:
    """Fail as told."""
    if kind == "permanent":
        raise Permanent(message, code=code)
    if kind == "snooze":
        raise Snooze(timedelta(seconds=1), message)
    if kind == "bug":
        raise ValueError(message)
    raise Transient(message, code=code)


@app.task(name="messages.test_steps")
def steps(count: int, path: str) -> dict[str, int]:
    """Go step by step, showing progress."""
    for step in range(count):
        note.run(path, str(step))
        progress(step, count)
        time.sleep(0.1)
        check()
    return {"steps": count}


@app.task(name="imports.test_nap")
def import_nap(seconds: float, path: str = "") -> None:
    """Sleep in a child process."""
    nap.run(seconds, path)


@app.task(name="messages.test_start_another")
def start_another(path: str) -> None:
    """Start a note in this job's last transaction."""
    with finishing() as session:
        enqueue(session, "messages.test_note", args={"path": path})


@app.task(name="messages.test_span")
def span(path: str, seconds: float = 0.0, text: str = "x") -> None:
    """Write when it begins and when it ends, so that overlaps can be seen."""
    note.run(path, f"+{text}")
    time.sleep(seconds)
    note.run(path, f"-{text}")


@app.task(name="messages.test_drain")
def drain() -> int:
    """Deal with what is in the inbox at the start: what comes later is another job's."""
    with db.transaction() as session:
        found = list(session.scalars(sa.text("SELECT id FROM test_inbox WHERE NOT seen")))
    time.sleep(0.003)
    with finishing(len(found)) as session:
        session.execute(sa.text("UPDATE test_inbox SET seen = true WHERE id = ANY(:ids)"), {"ids": found})
    return len(found)


def _follow(session: Session, state: JobState, _error: BaseException | None, *, row: int, broken: bool = False) -> None:
    if broken:
        raise RuntimeError("a mistake in the room of this task")
    session.execute(sa.text("UPDATE test_rows SET state = :state WHERE id = :id"), {"state": state, "id": row})


@app.task(name="messages.test_followed", follow=_follow)
def followed(row: int, broken: bool = False) -> None:
    """Fail, with a row in `test_rows` that follows."""
    raise Transient("it broke")


@app.task(name="messages.test_nap_once")
def nap_once(seconds: float, path: str) -> None:
    """Sleep the first time only."""
    first = not Path(path).exists()
    note.run(path, str(job().claim_no))
    time.sleep(seconds if first else 0)


@app.task(name="messages.test_hold_connection")
def hold_connection(seconds: float) -> None:
    """Use a connection of the pool for a while."""
    with db.transaction() as session:
        session.execute(sa.select(sa.func.pg_sleep(seconds)))


@app.task(name="notifications.test_nap")
def notification_nap(seconds: float, path: str = "") -> None:
    """Sleep in another queue."""
    nap.run(seconds, path)


@app.task(name="messages.test_stamp")
def stamp(path: str) -> None:
    """Append the time to a file."""
    note.run(path, repr(time.time()))
