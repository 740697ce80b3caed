"""A worker of the queue `imports` as it runs in production: child processes."""

from collections.abc import Iterator

import pytest

from tests.core.conftest import end, started
from tests.harness import Program, beat, worker

QUICK = {"LEASE": "6", "LEASE_RENEWAL": "1.5", "HTTP_TIMEOUT": "3", "HTTP_CONNECT_TIMEOUT": "2"}


@pytest.fixture(scope="module")
def importer(stores: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A worker and a scheduler for a whole module."""
    log = tmp_path_factory.mktemp("importer")
    programs = [beat(log, **QUICK), worker(log, "imports", name="importer", pool="prefork", concurrency=2, **QUICK)]
    try:
        yield [started(program) for program in programs][-1]
    finally:
        end(programs)
