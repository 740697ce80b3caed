"""A worker and a scheduler for a whole module: what they notice within a minute they notice within seconds here."""

import time
from collections.abc import Iterator

import pytest

from crm_tasks.core import db, holds
from tests.core.conftest import end, started
from tests.core.ledger import execute
from tests.fixtures import Demo, make_demo
from tests.harness import Program, beat, worker
from tests.messages.outgoing import point
from tests.outside import Sandbox
from tests.wire import Wire

# All processes of a test must have the same. The lease is long enough for a machine that is busy with other tests.
QUICK = {
    "LEASE": "6",
    "LEASE_RENEWAL": "1.5",
    "HTTP_TIMEOUT": "3",
    "HTTP_CONNECT_TIMEOUT": "2",
    "UNKNOWN_WAIT": "10",
    "HTTP_RETRY_DELAYS": "0.1,0.2,0.4",
    "QUEUE_MESSAGES_BACKOFF": "0.2",
    "QUEUE_AI_BACKOFF": "0.2",
}

_AT_WORK = "SELECT EXISTS (SELECT FROM jobs WHERE state = 'running' AND lease_until > clock_timestamp())"


@pytest.fixture(scope="module")
def sender(stores: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A worker that sends, and a scheduler, which brings back what was put off."""
    log = tmp_path_factory.mktemp("sender")
    programs = [beat(log, **QUICK), worker(log, "messages", name="sender", **QUICK)]
    try:
        yield [started(program) for program in programs][-1]
    finally:
        end(programs)


@pytest.fixture
def shop(empty: None, sandbox: Sandbox) -> Iterator[Demo]:
    """A business whose channel points at the sandbox, which sends no statuses unless a test wants them."""
    sandbox.quiet()
    yield make_demo(base_url=sandbox.url)
    _come_to_rest()


def _come_to_rest() -> None:
    """Let what a worker is about to send leave, and nothing after: the next test would find it in its sandbox."""
    with db.transaction() as session:
        holds.place(session, "all", reason="the test is over", actor="tests")
    end = time.monotonic() + 1
    while execute(_AT_WORK)[0][0] and time.monotonic() < end:
        time.sleep(0.02)


@pytest.fixture
def wire(shop: Demo, sandbox: Sandbox) -> Iterator[Wire]:
    """The way from the worker to the sandbox."""
    made = Wire(int(sandbox.url.rpartition(":")[2]))
    point(shop, f"http://127.0.0.1:{made.port}")
    yield made
    made.close()
