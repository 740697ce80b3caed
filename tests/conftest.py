"""Every test run has servers of its own on free ports, in parallel with whatever else runs on the machine."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import free_ports

_HOME = Path(tempfile.mkdtemp(prefix="crm-tests-"))
_POSTGRES_PORT, _VALKEY_PORT = free_ports(2)
_PASSWORD = "of-the-tests"

# Before anything of ours is imported: settings are read once.
for _name in ("BROKER_URL", "SANDBOX_WEBHOOK_URL", "QUEUE_CONCURRENCY", "LOG_LEVEL"):
    os.environ.pop(_name, None)
os.environ.update(
    CRM_ENV="test",
    CRM_HOME=str(_HOME),
    DATABASE_URL=f"postgresql://crm:{_PASSWORD}@127.0.0.1:{_POSTGRES_PORT}/crm",
    REDIS_URL=f"redis://:{_PASSWORD}@127.0.0.1:{_VALKEY_PORT}/0",
    AI_API_KEY="of-the-tests",
)

pytest_plugins = ["tests.fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of slow tests: the last of them would run on while the other core has nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def stores() -> Iterator[None]:
    """Postgres with our tables, and Valkey."""
    from crm_tasks.core import db, migrate
    from crm_tasks.stack import home
    from crm_tasks.stack.postgres import Postgres
    from crm_tasks.stack.stores import running
    from crm_tasks.stack.valkey import Valkey

    home.make(_HOME)
    # Nothing here must survive a power loss of the machine.
    postgres = Postgres(_HOME, port=_POSTGRES_PORT, password=_PASSWORD, options={"fsync": "off"})
    with running(postgres, Valkey(_HOME, port=_VALKEY_PORT, password=_PASSWORD)):
        migrate.upgrade()
        yield
        db.dispose()
