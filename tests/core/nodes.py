"""Nodes of pytest-celery's clusters that are processes of this machine, where the plugin itself would use Docker."""

import os
import signal as signals
import uuid
from pathlib import Path
from typing import Any

import celery
from pytest_celery import CeleryTestContainer

from crm_tasks.config import settings
from crm_tasks.core.redis import manager
from tests.harness import WORKER_READY, worker


class LocalBroker(CeleryTestContainer):
    """The Valkey of the tests, which other tests need too: it is not killed and not restarted."""

    id, name, status = "valkey-of-tests", "valkey", "running"

    def __init__(self) -> None:
        """Wrap no object of Docker's."""

    def ready(self, timeout: int = 30) -> bool:
        """Say whether it answers."""
        return manager().ping("broker")

    def reload(self) -> None:
        """Do nothing: there is nothing to read again."""

    def teardown(self) -> None:
        """Do nothing: it lives as long as the session."""

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """Return where Celery finds it."""
        url = settings().broker_url
        return {"url": url, "host_url": url}


class LocalWorker(CeleryTestContainer):
    """One worker, with all its processes, as a container would hold it."""

    def __init__(self, log: Path, name: str, *queues: str, **options: Any) -> None:
        """Wrap a process, not an object of Docker's."""
        self._id, self._name, self._queues = uuid.uuid4().hex[:12], name, queues
        self.program = worker(log, *queues, name=name, include="tests.tasks", **options)
        argv = self.program._argv
        argv[argv.index("-n") + 1] = f"{name}@{self._id}"

    @property
    def id(self) -> str:
        """Return what its host name is made of."""
        return self._id

    @property
    def name(self) -> str:
        """Return the node's name."""
        return self._name

    @property
    def status(self) -> str:
        """Return the state in Docker's words."""
        popen = self.program.popen
        return "running" if popen is not None and popen.poll() is None else "exited"

    def ready(self, timeout: int = 30) -> bool:
        """Start it if it does not run, and wait until it takes work."""
        if self.status != "running":
            self.program.start(WORKER_READY)
        return True

    def logs(self) -> str:
        """Return all it has said."""
        return self.program.said()

    def reload(self) -> None:
        """Do nothing: its state is asked for each time."""

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal; SIGKILL goes to all of its processes, as when a host dies."""
        number = signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal)
        if number is signals.SIGKILL:
            self.program.kill()
        else:
            os.kill(self.program.pid, number)
            assert self.program.popen is not None
            self.program.popen.wait(30)

    def restart(self, timeout: int = 30) -> None:
        """Stop it in order, if it runs, and start it."""
        self.program.stop(timeout)
        self.program.start(WORKER_READY)

    def teardown(self) -> None:
        """End it."""
        if self.status == "running":
            self.program.kill()

    def version(self) -> str:
        """Return Celery's version."""
        return celery.__version__

    def worker_name(self) -> str:
        """Return the part before the @."""
        return self._name

    def worker_queue(self) -> str:
        """Return its first queue."""
        return self._queues[0]

    def log_level(self) -> str:
        """Return Celery's level."""
        return "INFO"
