"""One process of the running system: how it is started, how it is asked to stop, how it is made to.

Its one rule: an orderly signal goes to the leader only. A prefork pool whose children get the signal too loses
the task they run; the group as a whole gets nothing but SIGKILL, when the leader is gone or its time is up.
"""

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any

from crm_tasks.stack.guard import Group, birth

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
_PR_SET_PDEATHSIG = 1
_LOG_LIMIT = 10 * 1024 * 1024
_STABLE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a sort of process stops and restarts. `order` is its turn when the system stops, low first.

    `death` is what the kernel sends when the supervisor dies. A Celery worker gets SIGKILL: with SIGTERM a
    prefork one whose broker dies at the same moment waits for ever. Granian gets SIGTERM: its workers outlive a
    killed leader.
    """

    order: int
    stop: Signals = signal.SIGTERM
    escalate: Signals | None = None
    death: Signals = signal.SIGTERM
    grace: float = 10.0
    slowest_restart: float = 30.0
    first_restart: float = 0.5
    # Seconds that the guard leaves it to end by itself when the supervisor was killed.
    patience: float = 3.0
    # A store is never hurried: what it has to write is why it is there.
    is_store: bool = False


class State(StrEnum):
    """Where a process stands; `waiting` means it crashed and starts again soon."""

    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. With `log` the output goes to that file, otherwise to the supervisor."""

    name: str
    argv: Sequence[str | Path]
    kind: Kind
    env: Mapping[str, str]
    cwd: Path
    log: Path | None = None
    popen: Mapping[str, Any] = field(default_factory=dict)
    # Runs in the child before anything else, `before` in the supervisor before every start.
    enter: Callable[[], None] | None = None
    before: Callable[[], None] | None = None


class Process:
    """A program with its present process, its restarts and its way down."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.name, self.kind = program.name, program.kind
        self.state = State.STOPPED
        self.popen: subprocess.Popen[bytes] | None = None
        self.started_at: datetime | None = None
        self.restarts = 0
        self.failures = 0
        self.due = 0.0
        self._born = ""
        self._since = 0.0
        self._asked = 0.0
        self._pressed = False

    def start(self) -> None:
        """Start it, in a session of its own so that the terminal's Ctrl-C reaches only the supervisor.

        Must be called on the main thread: the death signal is tied to the life of the thread that forks.
        """
        program = self.program
        if program.before:
            program.before()
        log = _open_log(program.log) if program.log else None
        try:
            self.popen = subprocess.Popen(
                [str(word) for word in program.argv],
                stdin=subprocess.DEVNULL,
                stdout=log or subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=program.cwd,
                env=program.env,
                start_new_session=True,
                umask=0o077,
                preexec_fn=in_child(self.kind.death, program.enter),
                **program.popen,
            )
        finally:
            if log:
                os.close(log)
        if self.popen.stdout:
            os.set_blocking(self.popen.stdout.fileno(), False)
        self.state, self.started_at, self._since = State.RUNNING, datetime.now(UTC), time.monotonic()
        self._born = birth(self.popen.pid)

    @property
    def pid(self) -> int | None:
        """Return the pid of the running process."""
        return self.popen.pid if self.popen and self.popen.returncode is None else None

    @property
    def group(self) -> Group:
        """Return what the guard has to know of it."""
        assert self.popen
        return Group(self.popen.pid, self._born, self.kind.death, self.kind.patience)

    def ended(self) -> bool:
        """Say whether a process that ran has just ended; what was left of its group is killed then."""
        if self.popen is None or self.state not in (State.RUNNING, State.STOPPING) or self.popen.poll() is None:
            return False
        self._kill_group()
        return True

    def crashed(self) -> float:
        """Plan the restart and return the seconds until then: doubling, reset by a stable minute."""
        if time.monotonic() - self._since > _STABLE:
            self.failures = 0
        self.failures += 1
        self.restarts += 1
        delay = self.kind.first_restart * 2.0 ** min(self.failures - 1, 10)
        delay = min(delay, self.kind.slowest_restart) * random.uniform(0.8, 1.2)
        self.state, self.due = State.WAITING, time.monotonic() + delay
        return delay

    def ask_to_stop(self) -> None:
        """Send the orderly signal to the leader."""
        if self.pid is None:
            self.state = State.STOPPED
            return
        self.state, self._asked, self._pressed = State.STOPPING, time.monotonic(), False
        self._signal(self.kind.stop)

    def waited(self) -> float:
        """Return the seconds since it was last asked to stop."""
        return time.monotonic() - self._asked

    def press(self, *, hurried: bool) -> None:
        """Escalate when its time is up: a second signal where there is one, then SIGKILL to the whole group."""
        waited = self.waited()
        if not self._pressed and (waited > self.kind.grace or hurried):
            self._pressed, self._asked = True, time.monotonic()
            if self.kind.escalate:
                self._signal(self.kind.escalate)
        elif self._pressed:
            patience = 2.0 if hurried else 10.0 if self.kind.escalate else 0.0
            if waited > patience:
                self._kill_group()

    def status(self) -> dict[str, Any]:
        """Return what others may know of it."""
        return {
            "name": self.name,
            "pid": self.pid,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "restarts": self.restarts,
            "state": self.state.value,
            "born": self._born,
            "death": int(self.kind.death),
        }

    def how_it_ended(self) -> str:
        """Return the exit in words."""
        code = self.popen.returncode if self.popen else None
        if code is None:
            return "could not be started"
        return f"was killed by {Signals(-code).name}" if code < 0 else f"exited with status {code}"

    def _signal(self, number: Signals) -> None:
        if self.popen and self.popen.poll() is None:
            self.popen.send_signal(number)

    def _kill_group(self) -> None:
        if self.popen:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)


def in_child(death: Signals, enter: Callable[[], None] | None = None) -> Callable[[], None]:
    """Return what runs in a new process before its program: it takes its identity and binds its life to ours."""
    return partial(_in_child, os.getpid(), death, enter)


def _in_child(parent: int, death: Signals, enter: Callable[[], None] | None) -> None:
    if enter:
        enter()
    if _LIBC:
        # After `enter`: a change of credentials clears it.
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death))
        if os.getppid() != parent:
            os._exit(1)


def _open_log(path: Path) -> int:
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def last_lines(path: Path, count: int = 3) -> str:
    """Return the end of a log, for an error message."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-count:])
