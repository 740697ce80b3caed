"""CRM_HOME: the private directory of one running system, its lock and its generated values.

Its one rule: what was generated once is never generated again, for data is encrypted with it.
"""

import fcntl
import os
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from dotenv import dotenv_values

from crm_tasks.core.errors import ConfigError

_HEADER = "# Written by `crm up`: generated secrets, and where its servers are. The environment and .env win.\n"


def _digits(prefix: str, count: int) -> str:
    return prefix + "".join(str(secrets.randbelow(10)) for _ in range(count))


GENERATED: Mapping[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "ENCRYPTION_KEYS": lambda: urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "PASSWORD_SALT": lambda: secrets.token_urlsafe(32),
    "FLOWER_PASSWORD": lambda: secrets.token_urlsafe(18),
    "POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "VALKEY_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SANDBOX_ACCESS_TOKEN": lambda: "EAA" + secrets.token_hex(60),
    "SANDBOX_APP_SECRET": lambda: secrets.token_hex(16),
    "SANDBOX_VERIFY_TOKEN": lambda: secrets.token_urlsafe(18),
    "SANDBOX_PHONE_NUMBER_ID": lambda: _digits("1", 14),
    "SANDBOX_WABA_ID": lambda: _digits("1", 14),
    # 555: the exchange of Meta's own test numbers.
    "SANDBOX_DISPLAY_PHONE_NUMBER": lambda: _digits("1555", 7),
}


class AlreadyRunning(ConfigError):
    """Another supervisor holds this CRM_HOME."""


def make(home: Path) -> None:
    """Create CRM_HOME and its log directory, for its owner alone."""
    for directory in (home, home / "log"):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"{directory} cannot be made ({error.strerror}): set CRM_HOME.") from None
        owner = directory.stat().st_uid
        if owner != os.geteuid():
            raise ConfigError(
                f"{directory} belongs to user id {owner}, not to you (user id {os.geteuid()}): "
                "run as that user, or set CRM_HOME to another directory."
            )
        directory.chmod(0o700)


def token(home: Path) -> str:
    """Return a name for this directory that no other on this machine has: its programs carry it visibly."""
    status = home.stat()
    return f"crm-{status.st_dev:x}-{status.st_ino:x}"


class Lock:
    """CRM_HOME held by this process; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises:
            AlreadyRunning: another process has it; says which, and where it answers.
        """
        self._file: IO[str] = os.fdopen(os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
        # More than once only because is_locked() of a reader may hold it for an instant.
        for _ in range(20):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
        else:
            pid, _, url = self._file.read().strip().partition(" ")
            self._file.close()
            raise AlreadyRunning(f"already running as process {pid or '?'}: {url or home}")
        self.announce("")

    def announce(self, url: str) -> None:
        """Say in the lock where this system answers."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{os.getpid()} {url}\n")
        self._file.flush()

    def release(self) -> None:
        """Let go."""
        self._file.close()


def is_locked(home: Path) -> bool:
    """Say whether a living supervisor holds CRM_HOME. The kernel drops the lock of a killed one."""
    try:
        with (home / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def values(home: Path) -> dict[str, str]:
    """Return what CRM_HOME/env says."""
    path = home / "env"
    return {key: value for key, value in dotenv_values(path).items() if value is not None} if path.exists() else {}


def generate(home: Path) -> dict[str, str]:
    """Return what CRM_HOME/env says, with every secret that is still missing made and written."""
    known = values(home)
    missing = {name: make_one() for name, make_one in GENERATED.items() if not known.get(name)}
    if missing:
        save(home, known | missing)
    return known | missing


def save(home: Path, content: Mapping[str, str]) -> None:
    """Write CRM_HOME/env."""
    write(home / "env", _HEADER + "".join(f"{key}={_quoted(value)}\n" for key, value in content.items()))


def _quoted(value: str) -> str:
    """Return a value as dotenv files take it; ours need nothing, what somebody added by hand may."""
    if re.fullmatch(r"[\w@%+=:,./-]*", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def write(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a private file; readers (and a power loss, if `durable`) meet the old text or the new."""
    new = path.with_name(f"{path.name}.new")
    # Not a truncated older file: that one may be readable by others.
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    new.replace(path)
    if durable:
        flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Make a rename in a directory survive a power loss."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
