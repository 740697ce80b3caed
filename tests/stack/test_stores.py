"""The embedded servers: where they run, as whom, and what they make of the remains of an earlier life."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from crm_tasks.core.errors import ConfigError
from crm_tasks.stack import home as homes
from crm_tasks.stack import identity, processes, stores
from crm_tasks.stack.postgres import Postgres
from crm_tasks.stack.process import Process
from crm_tasks.stack.valkey import Valkey
from tests.harness import command_line, eventually, free_ports, lives

from .harness import Nobody

# With what must be quoted in an address.
PASSWORD = "s3cret@of/the:test%"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="is about running as root")


AS_NOBODY = """
import os, sys, pathlib, psycopg
from crm_tasks.stack import home as homes, stores
from crm_tasks.stack.postgres import Postgres
home = pathlib.Path("crm").absolute()
homes.make(home)
store = Postgres(home, port=int(sys.argv[1]), password=sys.argv[2])
with stores.running(store), psycopg.connect(store.url.replace("+psycopg", "")) as connection:
    (number,) = connection.execute("SELECT 40 + 2").fetchone()
    print(os.geteuid(), number, store.identity.popen, store.identity.enter)
"""


def postgres(home: Path, **options: str) -> Postgres:
    return Postgres(home, port=free_ports(1)[0], password=PASSWORD, options=options)


def valkey(home: Path) -> Valkey:
    return Valkey(home, port=free_ports(1)[0], password=PASSWORD)


def connect(store: Postgres) -> psycopg.Connection:
    return psycopg.connect(store.url.replace("+psycopg", ""), autocommit=True)


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Processes that a test starts, ended afterwards."""
    found: list[Process] = []
    yield found
    for process in found:
        if process.pid:
            os.kill(process.pid, signal.SIGKILL)
            process.popen.wait()  # type: ignore[union-attr]


def begin(store: Postgres | Valkey, started: list[Process]) -> Process:
    process = Process(store.program())
    process.start()
    started.append(process)
    stores.wait_for(store, process)
    return process


def test_postgres_has_what_the_applications_need(home: Path) -> None:
    store = postgres(home)
    with stores.running(store), connect(store) as connection:
        one = connection.execute(
            "SELECT current_user, rolsuper, version(), upper('é'), current_setting('max_connections')::int,"
            " current_setting('fsync'), current_setting('unix_socket_directories'), datcollversion IS NULL"
            " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
        ).fetchone()
        assert one and one[0] == "crm" and not one[1] and "PostgreSQL 18" in one[2]
        assert one[3:7] == ("É", 200, "on", "")
        # What a migration, a test database and `crm status` will ask for.
        connection.execute("CREATE EXTENSION pg_trgm")
        connection.execute("CREATE TABLE kept (id uuid DEFAULT uuidv7())")
        connection.execute("CREATE DATABASE another")
        seen = connection.execute("SELECT query FROM pg_stat_statements").fetchall()
        assert PASSWORD not in str(seen) and any("kept" in query for (query,) in seen)
    assert PASSWORD not in store.log.read_text()


def test_nothing_of_theirs_is_readable_by_others_and_no_secret_is_on_a_command_line(home: Path) -> None:
    both = postgres(home), valkey(home)
    with stores.running(*both):
        ours = [pid for name in ("postgres", "valkey-server") for pid in processes.find(name, homes.token(home))]
        assert len(ours) >= 5
        assert not any(PASSWORD in command_line(pid) for pid in ours)
        assert not any(PASSWORD.encode() in Path(f"/proc/{pid}/environ").read_bytes() for pid in ours)
        open_to_others = [path for path in home.rglob("*") if path.stat().st_mode & 0o077 and path.is_dir()]
        assert not open_to_others
        assert all(path.stat().st_mode & 0o077 == 0 for path in (home / "valkey").glob("*.conf"))


def test_valkey_keeps_what_it_was_given(home: Path, started: list[Process]) -> None:
    store = valkey(home)
    process = begin(store, started)
    client = redis.Redis.from_url(store.url)
    client.set("word", "kept")
    assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    eventually(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
    os.kill(process.pid, signal.SIGKILL)
    process.popen.wait()
    begin(store, started)
    assert client.get("word") == b"kept"


@as_root
def test_root_keeps_its_files_in_a_private_directory(home: Path) -> None:
    """pytest's directories are 0700, as the home of root is."""
    store = postgres(home)
    with stores.running(store):
        (leader,) = [pid for pid in processes.find("postgres", homes.token(home)) if "postgres -D" in command_line(pid)]
        assert str(store.data).startswith(str(home)) and store.data.stat().st_uid == 0
        inside = Path(f"/proc/{leader}/status").read_text()
        assert "CapEff:\t0000000000000000" in inside


@as_root
def test_root_without_name_spaces_uses_another_account(
    home: Path, shared_directory: Path, monkeypatch: pytest.MonkeyPatch, started: list[Process]
) -> None:
    monkeypatch.setattr(identity, "_enter_name_space", forbidden)
    monkeypatch.setattr(identity, "SHARED", (shared_directory,))
    store = postgres(home)
    process = begin(store, started)
    with connect(store) as connection:
        connection.execute("CREATE TABLE kept (word text)")
    assert owner(process.pid) != 0
    assert store.data.is_relative_to(shared_directory) and store.data.parent.stat().st_mode & 0o777 == 0o700
    os.kill(process.pid, signal.SIGKILL)
    process.popen.wait()
    # Name spaces may be allowed the next time: the data stays where it is.
    monkeypatch.undo()
    again = postgres(home)
    begin(again, started)
    assert again.data == store.data
    with connect(again) as connection:
        connection.execute("SELECT * FROM kept")


@as_root
def test_root_without_name_spaces_and_a_private_venv_copies_the_programs(
    home: Path, tmp_path: Path, shared_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = identity._programs().parent.parent
    for source in (package, package.with_name(f"{identity.PACKAGE}.libs")):
        shutil.copytree(source, tmp_path / "venv" / source.name, ignore=shutil.ignore_patterns("include"))
    private = tmp_path / "venv" / identity.PACKAGE / "pginstall" / "bin"
    monkeypatch.setattr(identity, "_programs", lambda: private)
    monkeypatch.setattr(identity, "_enter_name_space", forbidden)
    monkeypatch.setattr(identity, "SHARED", (shared_directory,))
    store = postgres(home)
    with stores.running(store), connect(store) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert store.identity.programs.is_relative_to(shared_directory)
    assert postgres(home).identity.programs == store.identity.programs


@as_root
def test_a_database_of_root_that_cannot_be_opened_any_more_is_not_made_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = postgres(home)
    store.program()
    monkeypatch.setattr(identity, "_enter_name_space", forbidden)
    with pytest.raises(ConfigError, match="was made in a user name space"):
        postgres(home).program()


@as_root
def test_a_moved_database_that_is_gone_is_not_made_anew(
    home: Path, shared_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_enter_name_space", forbidden)
    monkeypatch.setattr(identity, "SHARED", (shared_directory,))
    store = postgres(home)
    shutil.rmtree(store.identity.directory)
    with pytest.raises(ConfigError, match="which is gone"):
        postgres(home).program()


@as_root
def test_root_with_no_way_at_all_is_told_so(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(identity, "_enter_name_space", forbidden)
    monkeypatch.setattr(identity, "SHARED", (tmp_path,))
    monkeypatch.setattr(identity, "_runs", lambda *_: False)
    with pytest.raises(ConfigError, match="run as an ordinary user, or set DATABASE_URL"):
        postgres(home).program()


@as_root
def test_an_ordinary_user_needs_nothing_special(of_nobody: Nobody) -> None:
    done = subprocess.run(
        [of_nobody.python, "-c", AS_NOBODY, str(free_ports(1)[0]), PASSWORD],
        cwd=of_nobody.directory,
        env=of_nobody.env,
        capture_output=True,
        text=True,
        timeout=30,
        **of_nobody.account,
    )
    assert done.stdout.split() == [str(of_nobody.account["user"]), "42", "{}", "None"], done.stderr


def test_a_server_left_behind_is_ended_and_its_data_kept(home: Path, started: list[Process]) -> None:
    first = postgres(home)
    process = begin(first, started)
    with connect(first) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    # Another port, as a user who thinks the old one is taken may choose.
    second = postgres(home)
    begin(second, started)
    process.popen.wait(5)
    with connect(second) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_backends_that_lost_their_leader_do_not_stop_a_new_server(home: Path, started: list[Process]) -> None:
    store = postgres(home)
    process = begin(store, started)
    with connect(store) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        below = processes.find("postgres", homes.token(home))
        # A backend that computes notices nothing of its leader's death.
        busy = connect(store)
        busy.pgconn.send_query(b"SELECT sum(sqrt(n)) FROM generate_series(1, 100000000) n")
        os.kill(process.pid, signal.SIGKILL)
        process.popen.wait()
        begin(store, started)
        busy.close()
    assert not any(lives(pid) for pid in below)
    with connect(store) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_pid_file_with_the_number_of_another_program_is_no_obstacle(home: Path, started: list[Process]) -> None:
    store = postgres(home)
    process = begin(store, started)
    os.kill(process.pid, signal.SIGKILL)
    process.popen.wait()
    file = store.data / "postmaster.pid"
    with subprocess.Popen(["sleep", "30"]) as stranger:
        file.write_text("\n".join([str(stranger.pid), *file.read_text().splitlines()[1:]]) + "\n")
        begin(store, started)
        assert stranger.poll() is None
        stranger.kill()


def test_a_half_made_database_is_made_again(home: Path) -> None:
    store = postgres(home)
    half = store.identity.directory / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    with stores.running(store), connect(store) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not half.exists()


def test_the_data_of_another_version_is_refused(home: Path) -> None:
    store = postgres(home)
    store.program()
    (store.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(ConfigError, match="was made by Postgres 17, and this is Postgres 18"):
        postgres(home).program()


def test_a_foreign_password_is_explained(home: Path) -> None:
    with stores.running(postgres(home)):
        pass
    other = Postgres(home, port=free_ports(1)[0], password="another")
    with pytest.raises(ConfigError, match="made with another CRM_HOME/env"), stores.running(other):
        pass


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_setting"), stores.running(postgres(home, no_such_setting="1")):
        pass


def test_a_large_log_is_set_aside_at_the_next_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crm_tasks.stack.process._LOG_LIMIT", 10)
    store = valkey(home)
    store.log.write_text("a line of an earlier life\n")
    with stores.running(store):
        pass
    assert "earlier life" in store.log.with_name("valkey.log.1").read_text()
    assert "earlier life" not in store.log.read_text()


def forbidden(*_: object) -> None:
    raise PermissionError("forbidden, for this test")
