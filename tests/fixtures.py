"""Fixtures of the tests that use the stores: an empty database, rows to begin with, running programs."""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests import harness
from tests.harness import BEAT_READY, WORKER_READY, Program, beat, free_ports, worker
from tests.outside import Sandbox, Site


@pytest.fixture
def empty(stores: None) -> Iterator[None]:
    """Empty tables, an empty Valkey, the real time; also while a worker of the whole module is still at it."""
    from crm_tasks.core import db, sweep
    from crm_tasks.core.jobs import ring

    sweep.forget()
    ring.flush()
    ring.forget()
    yield
    ring.flush()
    _flush()
    db.retrying(_empty)
    _flush()


def _flush() -> None:
    """Empty Valkey, however long it takes: on a busy machine that may be more than our second for a command."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.flushall()
        # As one that has been there for long: with a new one, everything paced waits two seconds.
        client.hset("crm:pace", "since", 1)


# Above that, in bytes, deleting takes longer than making all tables anew does.
_MUCH = 4_000_000


def _empty(session: Session) -> None:
    """Empty the tables: row by row, as after most tests there are few; all tables made anew take half a second."""
    from crm_tasks.models import Base

    names = [table.name for table in Base.metadata.sorted_tables]
    # First what claims lock first; and `retrying` has another try should there be a circle all the same.
    for locked in ("jobs", ", ".join(names)):
        session.execute(sa.text(f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE"))
    size = "SELECT sum(pg_relation_size(name::regclass)) FROM unnest(CAST(:names AS text[])) AS name"
    if session.scalar(sa.text(size), {"names": names}) > _MUCH:
        session.execute(sa.text(f"TRUNCATE {', '.join(names)}"))
    else:
        deletes = " ".join(f"DELETE FROM {name};" for name in reversed(names))
        session.execute(sa.text(f"DO $$ BEGIN {deletes} END $$"))
    _set_clock(session, "now()")


@pytest.fixture
def session(empty: None) -> Iterator[Session]:
    """A transaction that commits when the test ends well."""
    from crm_tasks.core import db

    with db.transaction() as opened:
        yield opened


@pytest.fixture
def clock(empty: None) -> Callable[[str], None]:
    """Set the one clock of the system, for every process at once, to an SQL expression such as
    `now() + interval '3 hours'`."""
    from crm_tasks.core import db

    def set_clock(expression: str) -> None:
        with db.transaction() as session:
            _set_clock(session, expression)

    return set_clock


def _set_clock(session: Session, expression: str) -> None:
    escaped = expression.replace("'", "''")
    session.execute(
        sa.text(f"CREATE OR REPLACE FUNCTION crm_now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT {escaped}'")
    )


@dataclass(frozen=True, slots=True)
class Demo:
    """A workspace with a channel and an operator's key."""

    workspace_id: uuid.UUID
    channel_id: uuid.UUID
    phone_number_id: str
    waba_id: str
    access_token: str
    app_secret: str
    verify_token: str
    api_key: str


@pytest.fixture
def demo(empty: None) -> Demo:
    """A business to test with. Its channel points nowhere until a test says where."""
    return make_demo()


NUMBER = "106540352242922"


def make_demo(*, number: str = NUMBER, base_url: str = "http://127.0.0.1:9", name: str = "Demo") -> Demo:
    """Make a workspace with one channel."""
    from crm_tasks.core import db
    from crm_tasks.workspaces import service

    new = service.NewChannel(
        kind="whatsapp",
        name="Number",
        values={
            "phone_number_id": number,
            "waba_id": f"9{number}",
            "access_token": f"token-of-{number}",
            "app_secret": f"secret-of-{number}",
            "verify_token": f"verify-{number}",
        },
        base_url=base_url,
    )
    with db.transaction() as session:
        workspace = service.create(session, name)
        channel = service.add_channel(session, workspace.id, new)
        _, key = service.create_key(session, workspace.id, "test", operator=True)
        return Demo(
            workspace.id,
            channel.id,
            number,
            f"9{number}",
            f"token-of-{number}",
            f"secret-of-{number}",
            f"verify-{number}",
            key,
        )


@pytest.fixture(scope="session")
def app(stores: None) -> Flask:
    """The web app in this process; tests of its behaviour as a server start one."""
    from webapp import create_app

    made = create_app()
    made.testing = False
    return made


@pytest.fixture
def client(app: Flask, empty: None) -> FlaskClient:
    """A browser or a provider, without a network between."""
    return app.test_client()


@pytest.fixture
def start(stores: None, tmp_path: Path, empty: None) -> Iterator[Callable[[Program], Program]]:
    """Start programs that end with the test."""
    started: list[Program] = []

    def start_one(program: Program) -> Program:
        until = WORKER_READY if " worker " in " ".join(program._argv) else ""
        until = BEAT_READY if program._argv[-1] == "beat" else until
        started.append(program)
        return program.start(until)

    yield start_one
    for program in started:
        program.stop()


@pytest.fixture
def running(start: Callable[[Program], Program], tmp_path: Path) -> tuple[Program, Program]:
    """A worker for all queues that knows the tests' own tasks, and a scheduler."""
    queues = ("messages", "ai", "webhooks", "notifications", "flows", "email", "campaigns")
    return start(worker(tmp_path, *queues, include="tests.tasks")), start(beat(tmp_path))


@pytest.fixture(scope="session")
def ports() -> tuple[int, int]:
    """The ports of the web app and the sandbox that all tests share."""
    web_port, sandbox_port = free_ports(2)
    return web_port, sandbox_port


@pytest.fixture(scope="session")
def shared_web(stores: None, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The web app as a server. Tests take `web`."""
    site = Site(harness.web(tmp_path_factory.mktemp("web"), ports[0]), ports[0])
    site.start("/live")
    yield site
    site.program.stop()


@pytest.fixture(scope="session")
def shared_sandbox(ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The outside world as a server. Tests take `sandbox`."""
    hook = f"http://127.0.0.1:{ports[0]}/webhooks/whatsapp"
    program = harness.sandbox(tmp_path_factory.mktemp("sandbox"), ports[1], hook, NUMBER)
    site = Sandbox(program, ports[1])
    site.start("/_sandbox/health")
    yield site
    site.program.stop()


@pytest.fixture
def web(shared_web: Site, empty: None) -> Site:
    """The web app behind its server."""
    return shared_web


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The outside world, with nothing in it. Its webhooks go to `web`, for tests that take that too."""
    shared_sandbox.empty()
    yield shared_sandbox
    shared_sandbox.empty()
