"""Reading a Procfile, and what sort of process each of its lines is.

Its one rule: a line is one command and complete in itself, so that honcho and every platform can run the file.
"""

import re
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from crm_tasks.core.errors import ConfigError
from crm_tasks.stack.process import Kind, Program

WEB = Kind(order=1, grace=15)
SERVICE = Kind(order=2)
THREADS = Kind(order=3, death=signal.SIGKILL)
# SIGQUIT makes a prefork worker put the task it runs back on the queue.
PREFORK = replace(THREADS, escalate=signal.SIGQUIT)
SANDBOX = Kind(order=4)

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_POOL = re.compile(r"\s(?:-P|--pool)[\s=]*([a-z]+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One process type."""

    name: str
    command: str

    @property
    def kind(self) -> Kind:
        """Return what sort of process it is, from what it runs."""
        padded = f" {self.command} "
        if " worker " in padded:
            pool = _POOL.search(padded)
            return PREFORK if pool is None or pool[1] in ("prefork", "processes") else THREADS
        return WEB if self.name == "web" or "granian " in padded else SERVICE

    def program(self, *, env: Mapping[str, str], cwd: Path, stop_grace: float) -> Program:
        """Return how to run it. `exec`, so that the pid is the program's and signals reach it."""
        kind = self.kind
        if kind.order == THREADS.order:
            kind = replace(kind, grace=stop_grace)
        first = "exec env" if _ASSIGNMENT.match(self.command) else "exec"
        return Program(name=self.name, argv=["/bin/sh", "-c", f"{first} {self.command}"], kind=kind, env=env, cwd=cwd)


def find() -> Path:
    """Return the Procfile of this checkout: in the working directory, or beside the package."""
    for directory in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (directory / "Procfile").is_file():
            return directory / "Procfile"
    raise ConfigError("There is no Procfile here: run `crm up` in the directory of the checkout.")


def read(path: Path) -> list[Line]:
    """Return the lines of a Procfile, in order.

    Raises:
        ConfigError: a line cannot be read, a name comes twice, or a line is more than one command.
    """
    lines: dict[str, Line] = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        text = text.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if not match:
            raise ConfigError(f"{path.name}:{number}: Write `name: command`.")
        name, command = match.groups()
        if name in lines:
            raise ConfigError(f"{path.name}:{number}: There are two processes named {name}.")
        if not _is_one_command(command):
            raise ConfigError(f"{path.name}:{number}: {name} must be one command, without `;`, `&` or `|`.")
        lines[name] = Line(name, command)
    return list(lines.values())


def _is_one_command(command: str) -> bool:
    try:
        words = shlex.shlex(command, posix=True, punctuation_chars=";&|")
        return not any(set(word) <= set(";&|") for word in words)
    except ValueError:
        return False
