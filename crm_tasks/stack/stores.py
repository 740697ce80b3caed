"""The embedded stores as a pair: what `crm up` and the tests have in common.

Its one rule: a store that is handed out has answered, and is complete.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from crm_tasks.core.errors import ConfigError
from crm_tasks.core.probe import NotReady, Probe, Trouble, wait_until_ready
from crm_tasks.stack.apart import apart
from crm_tasks.stack.process import Process, Program, State, last_lines

# Recovery after a power loss replays at most max_wal_size, or reads one append-only file.
START_TIMEOUT = 60.0


class Store(Protocol):
    """An embedded server."""

    name: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Return the address for the applications."""

    def program(self) -> Program:
        """Return how to run it."""

    def probe(self, timeout: float) -> Probe:
        """Look whether it serves."""

    def complete(self) -> None:
        """Make what the applications need in it."""

    def end_leftovers(self) -> None:
        """End a server that an earlier life left on its data."""


def wait_for(store: Store, process: Process, check: Callable[[], None] | None = None) -> float:
    """Wait until a store that was just started serves and is complete; return the seconds that took.

    Raises:
        ConfigError: it ended, or did not answer in time; with the last lines of its log.
    """

    def still_runs() -> None:
        if process.ended() or process.state is not State.RUNNING:
            raise ConfigError(
                f"{store.name} {process.how_it_ended()}; the end of {store.log}:\n{last_lines(store.log)}"
            )
        if check:
            check()

    started = time.monotonic()
    try:
        apart(lambda: wait_until_ready(store.probe, START_TIMEOUT), still_runs)
    except NotReady as error:
        still_runs()
        if error.kind is Trouble.AUTHENTICATION:
            raise ConfigError(f"{error} Its data was made with another CRM_HOME/env than the present one.") from error
        raise ConfigError(f"{error} The end of {store.log}:\n{last_lines(store.log)}") from error
    apart(store.complete, still_runs)
    return time.monotonic() - started


@contextmanager
def running(*stores: Store) -> Iterator[None]:
    """Run stores for the length of a block: for tests and benchmarks, which have no supervisor."""
    processes: list[Process] = []
    try:
        for store in stores:
            process = Process(store.program())
            process.start()
            processes.append(process)
            wait_for(store, process)
        yield
    finally:
        for process in processes:
            process.ask_to_stop()
        while any(process.pid for process in processes):
            for process in processes:
                process.press(hurried=False)
                process.ended()
            time.sleep(0.02)
