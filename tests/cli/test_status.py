"""`crm status`: everything on one screen, and of a store that is away the class of what is wrong."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.queues import Queue
from tests.cli.terminal import data, program, run
from tests.core.ledger import execute, new, update
from tests.harness import free_ports
from tests.providers.servers import certificate, hangs_up, server
from tests.webapp.dead import dead

HEALTHY = "INSERT INTO watermarks (name, at) VALUES ('scheduler', clock_timestamp())"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        kept: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[int]:
    """The port of a server whose certificate nobody vouches for."""
    context, _ = certificate(tmp_path)
    with server(hangs_up, tls=context) as there:
        yield there.port


def test_when_all_is_well_it_says_so_and_exits_with_0(empty: None) -> None:
    execute(HEALTHY)
    result = run("status")
    assert result.exit_code == 0, result.output
    for text in ("Stores", "Postgres at 127.0.0.1", "Redis at 127.0.0.1", "scheduler: last tick", "Queues", *Queue):
        assert text in result.output
    assert "All is well." in result.output
    assert "oldest waiting job" not in result.output
    assert "of-the-tests" not in result.output


def test_what_needs_a_look_is_named_and_the_status_is_1(empty: None) -> None:
    job_id = new()
    dead()
    result = run("status")
    assert result.exit_code == 1
    assert "never ticked" in result.output
    assert "No scheduler runs" in result.output
    assert "1 jobs wait in messages, and no worker takes that queue." in result.output
    assert "1 dead letters in messages: `crm dlq stats`." in result.output
    assert f"oldest waiting job: messages.test_note {job_id}" in result.output


def test_the_oldest_waiting_job_is_named_whether_it_was_rung_or_not(empty: None) -> None:
    rung, silent = new(), new()
    update([rung], "rung_at = crm_now()")
    update([silent], "rung_at = NULL")
    for older, younger in ((rung, silent), (silent, rung)):
        update([older], "run_at = crm_now() - interval '2 min'")
        update([younger], "run_at = crm_now() - interval '1 min'")
        assert f"oldest waiting job: messages.test_note {older}" in run("status").output


def test_scripts_get_all_of_it_as_json(empty: None) -> None:
    execute(HEALTHY)
    execute(
        "INSERT INTO processes (id, kind, name, host, pid, queues, tasks, version, concurrency, running, seen_at) "
        "VALUES (gen_random_uuid(), 'worker', 'io@host-a:abc', 'host-a', 7, '{messages}', '{}', '0', 20, 3, now())"
    )
    found = data("status")
    assert (found["ok"], found["problems"]) == (True, [])
    assert [(store["name"], store["ok"], store["kind"]) for store in found["stores"]] == [
        ("Postgres", True, None),
        ("Redis", True, None),
    ]
    assert [queue["name"] for queue in found["queues"]] == list(Queue)
    # A program of an earlier test may say goodbye at this very moment.
    workers = [process for process in found["processes"] if process["kind"] == "worker"]
    assert [(process["name"], process["pid"]) for process in workers] == [("io@host-a:abc", 7)]
    assert 0 <= found["scheduler_age"] < 60


def urls(port: int | None = None, host: str = "127.0.0.1", password: str = "of-the-tests") -> dict[str, str]:
    """Return both stores' addresses with something else in them."""
    postgres = int(re.search(r":(\d+)/", db.psycopg_url())[1])  # type: ignore[index]
    redis = int(re.search(r":(\d+)/", settings().redis_url)[1])  # type: ignore[index]
    return {
        "DATABASE_URL": f"postgresql://crm:{password}@{host}:{port or postgres}/crm",
        "REDIS_URL": f"redis://:{password}@{host}:{port or redis}/0",
    }


CLASSES = {
    "refused": "nothing listens there",
    "dns": "its name does not resolve",
    "timeout": "no answer in time",
    "authentication": "it refuses these credentials",
    "tls": "",
}


@pytest.mark.parametrize("kind", CLASSES)
def test_a_store_that_is_away_is_named_with_the_class_of_what_is_wrong(
    stores: None, silent: int, untrusted: int, kind: str
) -> None:
    env = {
        "refused": lambda: urls(port=free_ports(1)[0]),
        "dns": lambda: urls(host="nowhere.invalid"),
        "timeout": lambda: urls(port=silent),
        "authentication": lambda: urls(password="a-wrong-word"),
        "tls": lambda: {
            "DATABASE_URL": urls()["DATABASE_URL"] + "?sslmode=require",
            "REDIS_URL": f"rediss://:of-the-tests@127.0.0.1:{untrusted}/0",
        },
    }[kind]()
    shown = program("status", **env)
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr
    for name in ("Postgres at", "Redis at"):
        assert re.search(rf"^  {kind} +{name}", shown.stdout, re.MULTILINE), shown.stdout
    assert not CLASSES[kind] or shown.stdout.count(CLASSES[kind]) >= 2
    assert "a-wrong-word" not in shown.stdout + shown.stderr

    found = json.loads(program("status", "--json", **env).stdout)
    assert [store["kind"] for store in found["stores"]] == [kind, kind]
    assert (found["ok"], found["queues"]) == (False, [])


@pytest.mark.parametrize("words", [("job", "list"), ("dlq", "stats"), ("hold", "list"), ("workspace", "list")])
def test_other_commands_say_in_a_sentence_that_postgres_is_away(stores: None, words: tuple[str, ...]) -> None:
    done = program(*words, **urls(port=free_ports(1)[0]))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-2].startswith("crm: ")
    assert "Postgres" in done.stderr
    assert "of-the-tests" not in done.stderr
