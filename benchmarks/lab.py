"""What the benchmarks share: stores of their own with the settings of `make run` (durable), programs, clean tables.

Importing it sets the environment, so that it comes before anything of crm_tasks.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.harness import Program, free_ports

HOME = Path(tempfile.mkdtemp(prefix="crm-bench-"))
POSTGRES_PORT, VALKEY_PORT, WEB_PORT, SANDBOX_PORT = free_ports(4)
PASSWORD = "of-the-benchmarks"
PEERS = Path(__file__).with_name("peers")
DATABASE_URL = f"postgresql://crm:{PASSWORD}@127.0.0.1:{POSTGRES_PORT}/crm"
REDIS_URL = f"redis://:{PASSWORD}@127.0.0.1:{VALKEY_PORT}/0"
# Those of `make run`: see Procfile and docs/configuration.md.
WEB_PROCESSES = 2

for _name in ("BROKER_URL", "SANDBOX_WEBHOOK_URL", "QUEUE_CONCURRENCY", "WEB_WORKERS", "WEB_THREADS"):
    os.environ.pop(_name, None)
os.environ.update(
    CRM_ENV="test",
    CRM_HOME=str(HOME),
    DATABASE_URL=DATABASE_URL,
    REDIS_URL=REDIS_URL,
    AI_BASE_URL=f"http://127.0.0.1:{SANDBOX_PORT}/v1",
    AI_API_KEY="of-the-benchmarks",
    MALLOC_ARENA_MAX="2",
    LOG_LEVEL="WARNING",
)


@contextmanager
def lab() -> Iterator[None]:
    """Run Postgres and Valkey as `make run` does, empty, for the length of a block."""
    from crm_tasks.core import db, migrate
    from crm_tasks.stack import home
    from crm_tasks.stack.postgres import Postgres
    from crm_tasks.stack.stores import running
    from crm_tasks.stack.valkey import Valkey

    home.make(HOME)
    try:
        stores = (
            Postgres(HOME, port=POSTGRES_PORT, password=PASSWORD),
            Valkey(HOME, port=VALKEY_PORT, password=PASSWORD),
        )
        with running(*stores):
            migrate.upgrade()
            yield
            db.dispose()
    finally:
        shutil.rmtree(HOME, ignore_errors=True)


def leave(keep_logs: str | None) -> None:
    """Remove everything; the programs' logs are copied before, if wanted."""
    if keep_logs:
        shutil.copytree(HOME, keep_logs, ignore=_all_but_logs, dirs_exist_ok=True)
    shutil.rmtree(HOME, ignore_errors=True)


def _all_but_logs(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".log") and not (Path(folder) / name).is_dir()]


def clean() -> None:
    """Empty every table and Valkey."""
    import sqlalchemy as sa

    from crm_tasks.core import db
    from crm_tasks.core.redis import manager
    from crm_tasks.models import Base

    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with db.transaction() as session:
        session.execute(sa.text(f"TRUNCATE {tables}"))
        session.execute(
            sa.text("CREATE TABLE IF NOT EXISTS peer_events (wamid text PRIMARY KEY, wa_id text, payload text)")
        )
        session.execute(sa.text("TRUNCATE peer_events"))
    manager().client("broker").flushall()


def scalar(statement: str) -> float:
    """Return the one number of a query."""
    import sqlalchemy as sa

    from crm_tasks.core import db

    with db.transaction() as session:
        return float(session.scalar(sa.text(statement)) or 0)


@contextmanager
def programs(*started: tuple[Program, str]) -> Iterator[None]:
    """Run programs, each from the moment that it has said its text."""
    with ExitStack() as stack:
        for program, until in started:
            stack.callback(program.stop)
            program.start(until)
        yield


_INSTALL = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]


class Node(Program):
    """A program out of benchmarks/peers, whose modules are installed at the first use and after a change."""

    def __init__(self, script: str, **env: str) -> None:
        super().__init__(script, [], HOME, env)
        self._argv = ["node", str(PEERS / script)]
        wanted, installed = PEERS / "package.json", PEERS / "node_modules" / ".package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
            subprocess.run(_INSTALL, cwd=PEERS, check=True)


def missing() -> list[str]:
    """Return what the comparison needs and this machine has not."""
    return [f"{tool} ({what})" for tool, what in _TOOLS.items() if not shutil.which(tool)]


_TOOLS = {"wrk": "apt install wrk", "node": "apt install nodejs npm", "npm": "apt install npm"}
