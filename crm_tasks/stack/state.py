"""CRM_HOME/supervisor.json: which processes run. Its one rule: believed only while the lock is held."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crm_tasks.stack import home as homes
from crm_tasks.stack.guard import Group, end

_FILE = "supervisor.json"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process; `state` is running, waiting (crashed, starts again soon), stopping or stopped."""

    name: str
    pid: int | None
    started_at: datetime | None
    restarts: int
    state: str


@dataclass(frozen=True, slots=True)
class Status:
    """A running supervisor and its processes."""

    pid: int
    started_at: datetime
    url: str
    processes: tuple[ProcessStatus, ...]


def status(home: Path) -> Status | None:
    """Return what runs under a CRM_HOME, or None when no supervisor lives there."""
    if not homes.is_locked(home):
        return None
    try:
        content = json.loads((home / _FILE).read_text())
        return Status(
            pid=content["pid"],
            started_at=datetime.fromisoformat(content["started_at"]),
            url=content["url"],
            processes=tuple(_process(item) for item in content["processes"]),
        )
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _process(item: dict[str, Any]) -> ProcessStatus:
    started = item["started_at"]
    return ProcessStatus(
        name=item["name"],
        pid=item["pid"],
        started_at=datetime.fromisoformat(started) if started else None,
        restarts=item["restarts"],
        state=item["state"],
    )


class Record:
    """The writer's side."""

    def __init__(self, home: Path, url: str) -> None:
        self._path, self._url = home / _FILE, url
        self._started_at = datetime.now(UTC)

    def write(self, processes: Sequence[dict[str, Any]]) -> None:
        """Write the present state."""
        content = {
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(),
            "url": self._url,
            "processes": processes,
        }
        homes.write(self._path, json.dumps(content, indent=1), durable=False)

    def remove(self) -> None:
        """Leave no word of a system that has stopped."""
        self._path.unlink(missing_ok=True)


def was_killed(home: Path) -> bool:
    """Say whether the last supervisor of this CRM_HOME had no time to stop; asked by the next, who holds the lock."""
    return (home / _FILE).exists()


def end_leftovers(home: Path) -> int:
    """End the processes of a supervisor that was killed together with its guard; return how many there were.

    Only those whose birth is the recorded one: after a reboot the same numbers belong to others.
    """
    try:
        listed = json.loads((home / _FILE).read_text())["processes"]
    except (FileNotFoundError, ValueError, KeyError):
        return 0
    groups = [
        Group(item["pid"], item["born"], item["death"], 3.0)
        for item in listed
        if item.get("pid") and item.get("born", "-") != "-" and item.get("name") not in ("postgres", "valkey")
    ]
    return len(end(group for group in groups if group.is_led()))
