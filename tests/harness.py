"""What all tests share: waiting for facts, looking at processes, programs of their own."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has now, none of them twice.

    Below those that the system gives to outgoing connections, of which it may have one at any moment.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(12_000, 32_000)
        if port in _given:
            continue
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        _given.add(port)
        found.append(port)
    return found


def eventually(condition: Callable[[], Any], what: str = "", timeout: float = 15.0) -> Any:
    """Poll until a condition holds and return its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.02)
    return value


def lives(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> dict[int, str]:
    """Return every process below one, with its command line."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = {}, [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            todo.append(child)
            found[child] = command_line(child)
    return found


def command_line(pid: int) -> str:
    """Return the command line of a process as everybody can read it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


class Program:
    """A process of a test, with its own session, so that all of it can be killed like a host that dies."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.log = name, log / f"{name}.log"
        self._argv = [sys.executable, "-m", *argv]
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **(env or {})}
        self.popen: subprocess.Popen[bytes] | None = None
        self.mark = 0  # where in its log it began this time

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.popen is not None
        return self.popen.pid

    def start(self, until: str = "", timeout: float = 30.0) -> "Program":
        """Start it, and wait for a text in what it says."""
        with self.log.open("ab") as log:
            self.mark = mark = log.tell()
            self.popen = subprocess.Popen(
                self._argv, cwd=ROOT, env=self._env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        if until:
            eventually(lambda: self._ready(until, mark), f"{self.name} says {until!r}", timeout)
        return self

    def _ready(self, until: str, mark: int) -> bool:
        assert self.popen is not None
        said = self.said(mark)
        assert self.popen.poll() is None, f"{self.name} ended with {self.popen.returncode}:\n{said[-3000:]}"
        return until in said

    def said(self, mark: int = 0) -> str:
        """Return what it has said, from a place in its log on."""
        return self.log.read_bytes()[mark:].decode(errors="replace") if self.log.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program, not to its children."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End all of it at once, as when a host dies."""
        assert self.popen is not None
        for pid in [*descendants(self.pid), self.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.popen.wait(10)

    def stop(self, timeout: float = 20.0) -> int:
        """Stop it in order and return its status; what does not stop is killed."""
        if self.popen is None:
            return 0
        if self.popen.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.popen.returncode


def worker(
    log: Path, *queues: str, name: str = "w", pool: str = "threads", concurrency: int = 8, include: str = "", **env: str
) -> Program:
    """Return a Celery worker, not started. `include` names a module of tasks for it alone."""
    argv = ["celery", "-A", "crm_tasks", "worker", "-Q", ",".join(queues), "-P", pool, "-c", str(concurrency)]
    argv += ["-n", f"{name}@test", "--without-mingle", "--without-gossip"]
    return Program(name, [*argv, *(["-I", include] if include else [])], log, env)


def beat(log: Path, name: str = "beat", **env: str) -> Program:
    """Return a scheduler, not started."""
    return Program(name, ["celery", "-A", "crm_tasks", "beat"], log, env)


WORKER_READY, BEAT_READY = " ready.", "beat: Starting..."


def web(log: Path, port: int, name: str = "web", **env: str) -> Program:
    """Return the web app behind its server, not started."""
    defaults = {"HOST": "127.0.0.1", "PORT": str(port), "WEB_WORKERS": "1", "WEB_THREADS": "64"}
    return Program(name, ["webapp"], log, {**defaults, **env})


def sandbox(log: Path, port: int, webhook_url: str, number: str, **env: str) -> Program:
    """Return the simulated outside world with one number, whose secrets are those of `fixtures.make_demo`."""
    defaults = {
        "SANDBOX_PORT": str(port),
        "SANDBOX_SMTP_PORT": str(free_ports(1)[0]),
        "SANDBOX_JOURNAL": "off",
        # A delayed answer keeps a thread, and who finds none is refused: tests delay a hundred a second.
        "SANDBOX_THREADS": "128",
        "SANDBOX_WEBHOOK_URL": webhook_url,
        "SANDBOX_PHONE_NUMBER_ID": number,
        "SANDBOX_WABA_ID": f"9{number}",
        "SANDBOX_ACCESS_TOKEN": f"token-of-{number}",
        "SANDBOX_APP_SECRET": f"secret-of-{number}",
        "SANDBOX_VERIFY_TOKEN": f"verify-{number}",
    }
    return Program("sandbox", ["sandbox"], log, {**defaults, **env})
