"""Tasks that do what a test wants: known to workers started with `-I tests.tasks`."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from crm_tasks.celery import app
from crm_tasks.core.errors import Permanent, Snooze, Transient
from crm_tasks.core.task import check, job, progress


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


@app.task(name="messages.test_fail")
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
