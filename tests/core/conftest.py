"""Programs of these tests: ended like a host that dies, unless the end is what a test looks at."""

from collections.abc import Callable, Iterator

import pytest

from tests.core.ledger import execute
from tests.harness import BEAT_READY, WORKER_READY, Program, worker

Start = Callable[[Program], Program]


def started(program: Program) -> Program:
    """Start a program and wait until it is ready."""
    argv = " ".join(program._argv)
    return program.start(WORKER_READY if " worker " in argv else BEAT_READY if argv.endswith(" beat") else "")


@pytest.fixture
def start(empty: None) -> Iterator[Start]:
    """Start programs that end with the test."""
    programs: list[Program] = []

    def start_one(program: Program) -> Program:
        programs.append(program)
        return started(program)

    yield start_one
    end(programs)


@pytest.fixture
def inbox(empty: None) -> Iterator[None]:
    """Give a table of things to do for `messages.test_drain`."""
    execute("CREATE TABLE test_inbox (id int PRIMARY KEY, seen boolean NOT NULL DEFAULT false)")
    yield
    execute("DROP TABLE test_inbox")


@pytest.fixture
def rows(empty: None) -> Iterator[None]:
    """Give a table with a row 1 that follows `messages.test_followed`."""
    execute("CREATE TABLE test_rows (id int PRIMARY KEY, state text)")
    execute("INSERT INTO test_rows VALUES (1, 'new')")
    yield
    execute("DROP TABLE test_rows")


@pytest.fixture(scope="module")
def threads(stores: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Give one worker on threads to a whole module."""
    program = worker(
        tmp_path_factory.mktemp("threads"), "messages", "notifications", include="tests.tasks", LEASE_RENEWAL="1"
    )
    try:
        yield started(program)
    finally:
        end([program])


@pytest.fixture(scope="module", params=["threads", "prefork"])
def either_pool(
    stores: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Program]:
    """Give one worker to a whole module, which runs once with each kind of pool."""
    pool = request.param
    size = 8 if pool == "threads" else 2
    log = tmp_path_factory.mktemp(pool)
    program = worker(log, "messages", pool=pool, concurrency=size, include="tests.tasks", LEASE_RENEWAL="1")
    try:
        yield started(program)
    finally:
        end([program])


def end(programs: list[Program]) -> None:
    """End programs and all below them at once."""
    for program in programs:
        if program.popen is not None and program.popen.poll() is None:
            program.kill()
