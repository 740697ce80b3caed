"""Workers that nobody waits for take less of a busy core than those that somebody does."""

import os
import re
from pathlib import Path

import psutil
import pytest

from crm_tasks.core.background import NICENESS
from tests.core.conftest import Start
from tests.harness import Program, worker


def niceness(program: Program) -> set[int]:
    """Return by how much a program and all that it started are nicer than this process."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    root = psutil.Process(program.pid)
    return {each.nice() - own for each in (root, *root.children(recursive=True))}


def of_its_session(program: Program) -> int | None:
    """Return the niceness of its session among all others, where there is such a thing."""
    try:
        found = re.search(r"nice (-?\d+)", Path(f"/proc/{program.pid}/autogroup").read_text())
    except OSError:
        return None
    return int(found[1]) if found else None


@pytest.mark.parametrize(
    ("queues", "pool", "expected"),
    [
        (("campaigns",), "threads", NICENESS),
        (("imports", "exports", "analytics"), "prefork", NICENESS),
        (("messages",), "threads", 0),
        (("campaigns", "messages"), "threads", 0),
    ],
)
def test_who_is_in_the_background_steps_back(
    start: Start, tmp_path: Path, queues: tuple[str, ...], pool: str, expected: int
) -> None:
    program = start(worker(tmp_path, *queues, pool=pool, concurrency=2))
    assert niceness(program) == {expected}
    assert of_its_session(program) in (None, expected)
