"""A worker of the queue `imports` as in production, a caller of the API, no files of the test before."""

import shutil
from collections.abc import Iterator

import pytest

from crm_tasks.config import settings
from tests.core.conftest import end, started
from tests.harness import Program, beat, worker
from tests.webapp.conftest import api, other, stranger

__all__ = ["api", "other", "stranger"]

QUICK = {"LEASE": "6", "LEASE_RENEWAL": "1.5", "HTTP_TIMEOUT": "3", "HTTP_CONNECT_TIMEOUT": "2"}


@pytest.fixture(autouse=True)
def no_files() -> None:
    """Begin without the files of the test before."""
    shutil.rmtree(settings().import_path, ignore_errors=True)


@pytest.fixture(scope="module")
def importer(stores: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A worker and a scheduler for a whole module."""
    log = tmp_path_factory.mktemp("importer")
    programs = [beat(log, **QUICK), worker(log, "imports", name="importer", pool="prefork", concurrency=2, **QUICK)]
    try:
        yield [started(program) for program in programs][-1]
    finally:
        end(programs)
