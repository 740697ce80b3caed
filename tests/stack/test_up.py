"""The whole of `crm up`, with small programs in place of the real ones: start, crash, restart, and who is refused."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
import redis

from crm_tasks.core.probe import probe_http, probe_postgres, probe_redis
from crm_tasks.stack import state
from tests.harness import command_line, descendants, eventually, free_ports, lives

from .harness import System


def get(system: System, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{system.ports['PORT']}{path}", timeout=5) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Give one that runs, to tests that only look."""
    made = System(tmp_path_factory.mktemp("running"))
    made.procfile(web="python3 web.py", flaky="python3 flaky.py")
    made.start()
    yield made
    made.end()


def test_the_second_start_finds_the_data_and_the_secrets_of_the_first(system: System) -> None:
    said = system.says("READY") if system.start() else ""
    order = ["postgres answers", "valkey answers", "prepared", "started web and the sandbox", "READY"]
    assert [said.index(word) for word in order] == sorted(said.index(word) for word in order)
    system.query("INSERT INTO kept VALUES ('hello')")
    redis.Redis.from_url(system.values()["REDIS_URL"]).set("word", "kept")
    first = system.values()
    assert system.stop() == 0
    assert state.status(system.home) is None and not (system.home / "supervisor.json").exists()

    ports = free_ports(2)
    system.env |= {"POSTGRES_PORT": str(ports[0]), "VALKEY_PORT": str(ports[1])}
    said = system.says("READY") if system.start("--no-sandbox") else ""
    assert "sandbox" not in said
    second = system.values()
    assert f":{ports[0]}/crm" in second["DATABASE_URL"] and f":{ports[1]}/0" in second["REDIS_URL"]
    changed = {key for key in first if first[key] != second.get(key)}
    assert changed == {"DATABASE_URL", "REDIS_URL", "AI_BASE_URL", "AI_API_KEY", "SANDBOX_WEBHOOK_URL"}
    assert system.query("SELECT word FROM kept") == [("hello",)]
    assert redis.Redis.from_url(second["REDIS_URL"]).get("word") == b"kept"
    assert get(system, "/env/SECRET_KEY") == first["SECRET_KEY"]
    assert get(system, "/env/CRM_HOME") == str(system.home)
    assert system.stop(signal.SIGTERM) == 0


def test_a_second_one_on_the_same_home_is_refused_in_one_line(running: System) -> None:
    second = subprocess.run(
        [running.python, "go.py"], cwd=running.directory, env=running.env, capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 1 and second.stdout == ""
    url = f"http://127.0.0.1:{running.ports['PORT']}"
    assert second.stderr == f"crm up: already running as process {running.popen.pid}: {url}\n"
    assert get(running, "/live") == "ok"


@pytest.mark.parametrize("variable", ["PORT", "SANDBOX_PORT", "SANDBOX_SMTP_PORT", "POSTGRES_PORT", "VALKEY_PORT"])
def test_a_taken_port_is_one_line_that_names_its_variable(system: System, variable: str) -> None:
    with socket.create_server(("127.0.0.1", system.ports[variable])):
        process = system.start(until="")
        assert process.wait(20) == 1
    number = system.ports[variable]
    line = f"crm up: Port {number} is taken by another program: set {variable} to something else.\n"
    assert system.log.read_text() == line
    assert not (system.home / "postgres" / "data").exists()


def test_what_runs_can_be_asked_for(running: System) -> None:
    status = state.status(running.home)
    assert status and status.pid == running.popen.pid and status.url.endswith(str(running.ports["PORT"]))
    found = {item.name: item for item in status.processes}
    assert list(found) == ["postgres", "valkey", "sandbox", "web", "flaky"]
    assert all(lives(item.pid or 0) and item.state == "running" and item.restarts == 0 for item in found.values())
    eventually(lambda: probe_http(f"http://127.0.0.1:{running.ports['SANDBOX_PORT']}/", 1).ok, "the sandbox")


def test_no_secret_is_on_any_command_line_and_nothing_is_open_to_others(running: System) -> None:
    pid = running.popen.pid
    secrets = [value for key, value in running.values().items() if not key.endswith(("_ID", "_NUMBER", "_URL"))]
    lines = {pid: command_line(pid) for pid in [pid, *descendants(pid)]}
    assert len(lines) > 8 and len(secrets) >= 9
    assert not [line for line in lines.values() if any(secret in line for secret in secrets)]
    said = running.log.read_text()
    assert not any(secret in said for secret in secrets)
    for path in (running.home, *running.home.rglob("*")):
        assert path.is_symlink() or not path.lstat().st_mode & 0o077, path


def test_output_carries_the_name_of_its_process(running: System) -> None:
    said = running.says('{"event": "flaky.runs"}')
    assert 'flaky    | {"event": "flaky.runs"}\n' in said and "web      | web serves\n" in said


def test_what_crashes_starts_again(system: System) -> None:
    system.procfile(web="python3 web.py", flaky="python3 flaky.py")
    (system.directory / "crash").touch()
    system.start(until="flaky exited with status 3; starts again in")
    (system.directory / "crash").unlink()
    system.says('{"event": "flaky.runs"}')
    status = state.status(system.home)
    assert status
    restarts = {item.name: item.restarts for item in status.processes}
    # The others never noticed.
    assert restarts.pop("flaky") >= 1 and set(restarts.values()) == {0}


def test_a_killed_web_leaves_no_worker_on_its_port(system: System) -> None:
    system.start()
    leader = system.pid("web")
    workers = descendants(leader)
    assert len(workers) == 2
    os.kill(leader, signal.SIGKILL)
    system.says("web was killed by SIGKILL; starts again in")
    eventually(lambda: not any(lives(pid) for pid in workers), "no worker is left")
    eventually(lambda: probe_http(f"http://127.0.0.1:{system.ports['PORT']}/live", 1).ok, "the web again")
    assert system.pid("web") != leader


def test_killed_stores_come_back_with_their_data_while_the_rest_runs_on(system: System) -> None:
    system.start()
    values = system.values()
    system.query("INSERT INTO kept VALUES ('hello')")
    client = redis.Redis.from_url(values["REDIS_URL"])
    client.set("word", "kept")
    eventually(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
    web = system.pid("web")
    for name in ("postgres", "valkey"):
        os.kill(system.pid(name), signal.SIGKILL)
    system.says("postgres was killed by SIGKILL")
    system.says("valkey was killed by SIGKILL")
    eventually(lambda: probe_postgres(values["DATABASE_URL"], 1).ok, "postgres again")
    eventually(lambda: probe_redis(values["REDIS_URL"], 1).ok, "valkey again")
    assert system.query("SELECT word FROM kept") == [("hello",)]
    assert redis.Redis.from_url(values["REDIS_URL"]).get("word") == b"kept"
    assert system.pid("web") == web


def test_the_host_is_honoured_and_nothing_else_listens_there(system: System) -> None:
    system.env["HOST"] = "127.0.0.2"
    system.start()
    system.says("sandbox serves")
    status = state.status(system.home)
    assert status and status.url == f"http://127.0.0.2:{system.ports['PORT']}"
    for variable, port in system.ports.items():
        answers = [host for host in ("127.0.0.1", "127.0.0.2") if listens(host, port)]
        expected = {"PORT": ["127.0.0.2"], "FLOWER_PORT": []}.get(variable, ["127.0.0.1"])
        assert answers == expected, variable


def test_servers_of_the_user_replace_ours(system: System, tmp_path_factory: pytest.TempPathFactory) -> None:
    theirs = System(tmp_path_factory.mktemp("theirs"))
    theirs.procfile()
    theirs.start("--no-sandbox", until="started")
    try:
        values = theirs.values()
        (system.directory / ".env").write_text(f"DATABASE_URL={values['DATABASE_URL']}\n")
        system.env["REDIS_URL"] = values["REDIS_URL"]
        said = system.says("READY") if system.start() else ""
        assert f"Postgres at 127.0.0.1:{theirs.ports['POSTGRES_PORT']} answers." in said
        assert f"Redis at 127.0.0.1:{theirs.ports['VALKEY_PORT']} answers." in said
        assert [item["name"] for item in system.status()["processes"]] == ["sandbox", "web"]
        assert get(system, "/env/DATABASE_URL") == values["DATABASE_URL"]
        assert "DATABASE_URL" not in system.values()
    finally:
        theirs.end()


def test_a_server_of_the_user_that_refuses_us_is_one_line(system: System) -> None:
    system.env["REDIS_URL"] = f"redis://:secret@127.0.0.1:{system.ports['VALKEY_PORT']}/0"
    system.env["REDIS_TIMEOUT"] = "1"
    system.env["DATABASE_URL"] = f"postgresql://crm:secret@127.0.0.1:{system.ports['POSTGRES_PORT']}/crm"
    process = system.start(until="data, logs and secrets")
    # It waits: the servers of a platform may come later than we do. An interrupt ends the wait.
    assert system.stop(timeout=10) == 0 and process.returncode == 0
    assert "secret@" not in system.log.read_text()


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True
