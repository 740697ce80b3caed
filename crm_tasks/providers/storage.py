"""Where files are kept: a folder that all processes see. What is not whole is never at its place.

Another store, such as one that speaks S3, has the same four functions.
"""

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from crm_tasks.config import settings

# What a killed process left half written is nobody's after so many seconds.
STALE = 86_400
_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{64}-[0-9a-f-]{36}")


class TooLarge(Exception):
    """There is more than the limit."""


class Gone(Exception):
    """There is no file of this key."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is safely kept: its key, its size in bytes, and the SHA-256 of its content in hex."""

    key: str
    size: int
    sha256: str


class Storage(Protocol):
    """What a store of files can do."""

    def save(self, pieces: Iterable[bytes], *, name: uuid.UUID, limit: int) -> Stored:
        """Keep a file. The same name and content have the same key, so that doing it twice leaves one file.

        Raises:
            TooLarge: more than `limit` bytes; nothing is kept then, nor if `pieces` raises.
        """

    def open(self, key: str) -> BinaryIO:
        """Open a file to read.

        Raises:
            Gone: there is none.
        """

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""

    def exists(self, key: str) -> bool:
        """Say whether there is such a file."""


class Folder:
    """Files in a folder, spread over others by their hash; readable for their owner alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, pieces: Iterable[bytes], *, name: uuid.UUID, limit: int) -> Stored:
        """See `Storage`."""
        partial = self._folder(self._root / "partial") / uuid.uuid4().hex
        try:
            size, digest = self._write(partial, pieces, limit)
            key = f"{digest[:2]}/{digest[2:4]}/{digest}-{name}"
            place = self._root / key
            self._folder(place.parent)
            partial.replace(place)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return Stored(key, size, digest)

    def open(self, key: str) -> BinaryIO:
        """See `Storage`."""
        try:
            return self._place(key).open("rb")
        except OSError:
            raise Gone(key) from None

    def delete(self, key: str) -> None:
        """See `Storage`."""
        self._place(key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """See `Storage`."""
        return self._place(key).is_file()

    def workplace(self, name: uuid.UUID) -> Path:
        """Return a new folder for a file that is being made under this name; `forget` and `sweep` remove it."""
        return self._folder(self._root / "partial" / f"{name}-{uuid.uuid4().hex}")

    def forget(self, name: uuid.UUID, *, but: str = "") -> None:
        """Remove whatever there is of this name, made or half made, except the file of one key."""
        for folder in (self._root / "partial").glob(f"{name}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in self._root.glob(f"*/*/*-{name}"):
            if file != self._root / but:
                file.unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove what killed processes left half written a day ago, and return how many files that were."""
        removed = 0
        for partial in (self._root / "partial").glob("*"):
            with suppress(OSError):
                if partial.stat().st_mtime < time.time() - STALE:
                    shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
                    removed += 1
        return removed

    def old(self) -> list[str]:
        """Return the keys of files that are older than a day: for folders that hold a few."""
        found = []
        for place in self._root.glob("??/??/*"):
            with suppress(OSError):
                if place.stat().st_mtime < time.time() - STALE:
                    found.append(place.relative_to(self._root).as_posix())
        return found

    def _write(self, partial: Path, pieces: Iterable[bytes], limit: int) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for piece in pieces:
                size += len(piece)
                if size > limit:
                    raise TooLarge(f"more than {limit} bytes")
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return size, digest.hexdigest()

    def _place(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise Gone(key)
        return self._root / key

    def _folder(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def storage() -> Folder:
    """Return the store of this system."""
    return Folder(settings().media_path)


def exports() -> Folder:
    """Return the store of files that people export."""
    return Folder(settings().export_path)
