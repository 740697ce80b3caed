"""What the tests of the stack share: waiting, looking at processes, and a system of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from crm_tasks.stack import home as homes
from tests.harness import ROOT, descendants, eventually, free_ports, lives

from . import programs

ADDRESSES = ("DATABASE_URL", "BROKER_URL", "CRM_ENV", "CRM_HOME", "AI_BASE_URL", "AI_API_KEY", "STOP_GRACE", "HOST")


def _as_from_a_terminal() -> None:
    """Heed SIGHUP, also if these tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass
class Nobody:
    """An ordinary user: how to become it, a private directory of its own, an interpreter that it can reach."""

    directory: Path
    account: dict[str, Any]
    python: str
    env: dict[str, str]


class System:
    """One `up` and what it runs."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.home = directory, directory / ".crm"
        self.log = directory / "up.log"
        self.python, self.account, self.arguments = sys.executable, {}, []
        names = ("PORT", "FLOWER_PORT", "SANDBOX_PORT", "SANDBOX_SMTP_PORT", "POSTGRES_PORT", "VALKEY_PORT")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.env = {key: value for key, value in os.environ.items() if key not in ADDRESSES and "REDIS" not in key}
        self.env |= {"PYTHONPATH": str(ROOT), **{name: str(port) for name, port in self.ports.items()}}
        self.popen: subprocess.Popen[bytes] | None = None
        programs.write(directory)

    def procfile(self, **lines: str) -> None:
        """Write the Procfile."""
        text = "".join(f"{name.replace('_', '-')}: {command}\n" for name, command in lines.items())
        (self.directory / "Procfile").write_text(text)

    def start(self, *arguments: str, until: str = "READY") -> subprocess.Popen[bytes]:
        """Start it and wait for a word in what it says."""
        self.log.write_text("")
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                [self.python, "go.py", *self.arguments, *arguments],
                cwd=self.directory,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_as_from_a_terminal,
                **self.account,
            )
        if until:
            self.says(until)
        return self.popen

    def says(self, text: str, timeout: float = 20.0) -> str:
        """Wait for a text in what it says."""
        assert self.popen
        deadline = time.monotonic() + timeout
        while text not in (said := self.log.read_text()):
            assert self.popen.poll() is None, f"ended with {self.popen.returncode} before {text!r}:\n{said}"
            assert time.monotonic() < deadline, f"no {text!r} within {timeout} s:\n{said}"
            time.sleep(0.02)
        return said

    def stop(self, number: signal.Signals = signal.SIGINT, timeout: float = 30.0) -> int:
        """Stop it and return its status."""
        assert self.popen
        self.popen.send_signal(number)
        return self.popen.wait(timeout)

    def pid(self, name: str) -> int:
        """Return the pid of a process by its name in the Procfile."""
        return next(item["pid"] for item in self.status()["processes"] if item["name"] == name)

    def status(self) -> dict[str, Any]:
        """Return CRM_HOME/supervisor.json."""
        return json.loads((self.home / "supervisor.json").read_text())

    def values(self) -> dict[str, str]:
        """Return CRM_HOME/env."""
        return homes.values(self.home)

    def query(self, statement: str) -> list[tuple]:
        """Run a statement as the application would."""
        url = self.values()["DATABASE_URL"].replace("+psycopg", "")
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.popen and self.popen.poll() is None:
            below = descendants(self.popen.pid)
            self.popen.kill()
            self.popen.wait()
            eventually(lambda: not any(lives(pid) for pid in below), "nothing left", 20)
