"""The append-only journal. An event is in it, handed to the kernel, before the answer that rests on it is given.

One JSON object per line. There is no fsync: a killed process forgets nothing, a dead host may.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from sandbox.fields import Json

LARGE = 64 * 1024 * 1024
_LOCK_WAIT = 3.0


class JournalInUseError(Exception):
    """Another sandbox writes to this journal."""


class Journal:
    """A file of events; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._file = -1
        self._size = 0
        self._large = LARGE
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _hold(path.with_name("lock"))

    def replay(self, apply: Callable[[Json], object]) -> int:
        """Give every event of the file to `apply`, open it for more, and return how many there were.

        A last line that a dying process left unfinished is dropped: nobody was answered on it.
        """
        if self.path is None:
            return 0
        count = 0
        if self.path.exists():
            with self.path.open("rb") as lines:
                for line in lines:
                    event = _event(line)
                    if event is not None:
                        apply(event)
                        count += 1
        self._open()
        return count

    def append(self, event: Json) -> None:
        """Write one event; bytes in it are JSON already."""
        if self._file < 0:
            return
        line = orjson.dumps(event, default=orjson.Fragment, option=orjson.OPT_APPEND_NEWLINE)
        self._size += os.write(self._file, line)

    @property
    def large(self) -> bool:
        """Whether the file should be rewritten."""
        return self._size > self._large

    def rewrite(self, events: Iterable[Json]) -> None:
        """Replace the file by these events in one step."""
        if self.path is None:
            return
        fresh = self.path.with_suffix(".new")
        with open(fresh, "wb", opener=_private) as file:
            for event in events:
                file.write(orjson.dumps(event, default=orjson.Fragment, option=orjson.OPT_APPEND_NEWLINE))
        fresh.replace(self.path)
        self._open()
        self._large = max(LARGE, 2 * self._size)

    def close(self) -> None:
        """Let go of the file and of its lock."""
        if self.path is not None:
            os.close(self._file)
            os.close(self._lock)

    def _open(self) -> None:
        assert self.path is not None
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._size += os.write(self._file, b"\n")


def raw(value: Any) -> bytes:
    """Return a JSON value as bytes to keep; bytes are JSON already.

    What orjson returns sits in a larger block than it needs, so what stays is copied into one that fits.
    """
    return memoryview(value if isinstance(value, bytes) else orjson.dumps(value)).tobytes()


def _event(line: bytes) -> Json | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _hold(path: Path) -> int:
    """Lock the file for the life of this process; a predecessor may still be dying."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise JournalInUseError(f"Another sandbox keeps its journal in {path.parent}.") from None
            time.sleep(0.05)
        else:
            return file
