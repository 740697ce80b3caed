"""What the tests of campaigns share: a business with templates, whose channel points at the sandbox; workers."""

from collections.abc import Iterator

import pytest

from tests.campaigns.pumping import FLEET, QUEUES
from tests.core.conftest import end, started
from tests.fixtures import Demo, make_demo
from tests.harness import Program, beat, worker
from tests.outside import Sandbox
from tests.prove.healthy import open_account
from tests.templates.fetched import fetch


@pytest.fixture
def shop(empty: None, sandbox: Sandbox) -> Demo:
    """A business whose channel points at the sandbox, which sends no statuses unless a test wants them."""
    sandbox.quiet()
    demo = make_demo(base_url=sandbox.url)
    open_account()
    fetch(demo)
    return demo


@pytest.fixture(scope="module")
def fleet(stores: None, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A worker that sends campaigns and what they leave to ordinary jobs, and a scheduler, for a whole module."""
    log = tmp_path_factory.mktemp("fleet")
    env = FLEET | {"PUBLIC_URL": f"http://127.0.0.1:{ports[0]}"}
    programs = [beat(log, **env), worker(log, *QUEUES, name="fleet", **env)]
    try:
        yield [started(program) for program in programs][-1]
    finally:
        end(programs)
