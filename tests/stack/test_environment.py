"""What the user set wins, and what we wrote ourselves is not taken for the user's."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_tasks.config import settings
from crm_tasks.core.errors import ConfigError
from crm_tasks.stack import environment
from crm_tasks.stack import home as homes

from .harness import ADDRESSES


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the environment back at the very end: `apply` changes that of this process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    settings.cache_clear()


@pytest.fixture(autouse=True)
def alone(restored: None, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin with nothing set and with secrets made."""
    for name in [name for name in os.environ if name in ADDRESSES or "REDIS" in name or name in homes.GENERATED]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRM_HOME", str(home))
    homes.generate(home)


def applied(home: Path, *, sandbox: bool = True) -> dict[str, str]:
    environment.apply(home, environment.plan(home, sandbox=sandbox))
    return homes.values(home)


def test_without_addresses_of_the_user_everything_is_embedded(home: Path) -> None:
    plan = environment.plan(home, sandbox=True)
    assert plan == environment.Plan(postgres=True, valkey=True, sandbox=True, sandbox_ai=True)
    values = applied(home)
    assert values["DATABASE_URL"].endswith("@127.0.0.1:15432/crm")
    assert values["REDIS_URL"].endswith("@127.0.0.1:16379/0")
    assert values["AI_BASE_URL"] == "http://127.0.0.1:8900/v1"
    assert values["SANDBOX_WEBHOOK_URL"] == "http://127.0.0.1:8000/webhooks/whatsapp"
    assert settings().database_url == values["DATABASE_URL"]


def test_addresses_of_the_environment_replace_the_servers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://example/crm")
    monkeypatch.setenv("REDIS_URL", "redis://example/0")
    plan = environment.plan(home, sandbox=False)
    assert plan == environment.Plan(postgres=False, valkey=False, sandbox=False, sandbox_ai=False)
    assert not environment.ADDRESSES & applied(home, sandbox=False).keys()
    assert settings().redis_url == "redis://example/0"


@pytest.mark.parametrize("name", ["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB", "REDIS_USER"])
def test_any_part_of_a_redis_address_replaces_valkey(home: Path, name: str, tmp_path: Path) -> None:
    applied(home)
    (tmp_path / ".env").write_text(f"{name}=7\n")
    assert not environment.plan(home, sandbox=True).valkey
    assert "REDIS_URL" not in applied(home)
    assert "REDIS_URL" not in os.environ


def test_the_dotenv_file_counts_as_the_user(home: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://example/crm\nPORT=8123\n")
    assert not environment.plan(home, sandbox=True).postgres
    applied(home)
    assert environment.of_children()["PORT"] == "8123"


def test_what_a_shell_read_from_our_own_file_is_not_the_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in applied(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POSTGRES_PORT", "15999")
    assert environment.plan(home, sandbox=True).postgres
    assert applied(home)["DATABASE_URL"].endswith(":15999/crm")
    assert environment.of_children()["DATABASE_URL"].endswith(":15999/crm")


def test_blank_variables_are_not_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("REDIS_URL", "")
    plan = environment.plan(home, sandbox=True)
    assert plan.postgres and plan.valkey
    values = applied(home)
    for name in ("DATABASE_URL", "REDIS_URL"):
        assert values[name] and environment.of_children()[name] == values[name]
    assert settings().database_url == values["DATABASE_URL"]


@pytest.mark.parametrize("name", ["AI_API_KEY", "AI_BASE_URL"])
def test_a_real_ai_account_is_not_overridden(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(home)
    monkeypatch.setenv(name, "https://ai.example/v1")
    assert not environment.AI & applied(home).keys()


def test_without_the_sandbox_the_ai_is_not_pointed_at_it(home: Path) -> None:
    key = applied(home)["AI_API_KEY"]
    assert applied(home)["AI_API_KEY"] == key
    assert not environment.ADDRESSES & applied(home, sandbox=False).keys() - {"DATABASE_URL", "REDIS_URL"}


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"), ("192.0.2.7", "http://192.0.2.7:8000")],
)
def test_the_url_of_the_web_is_one_that_a_browser_here_can_open(
    home: Path, host: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST", host)
    applied(home)
    assert environment.web_url(settings()) == url


def test_children_get_our_programs_first_and_an_absolute_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_HOME", os.path.relpath(home))
    applied(home)
    given = environment.of_children()
    assert given["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert given["CRM_HOME"] == str(home)
    assert given["PYTHONUNBUFFERED"] == "1"
    assert given["SECRET_KEY"] == homes.values(home)["SECRET_KEY"]


def test_stop_grace_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.stop_grace() == 30
    monkeypatch.setenv("STOP_GRACE", "2.5")
    assert environment.stop_grace() == 2.5
    monkeypatch.setenv("STOP_GRACE", "soon")
    with pytest.raises(ConfigError, match="STOP_GRACE"):
        environment.stop_grace()
