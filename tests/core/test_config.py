"""Settings: all problems at once, never a value, no development secret where customers are."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest

from crm_tasks import config
from crm_tasks.config import DEVELOPMENT_ENCRYPTION_KEY, DEVELOPMENT_SECRET, Settings
from crm_tasks.core.errors import ConfigError
from tests.harness import ROOT

PRODUCTION = {
    "CRM_ENV": "production",
    "SECRET_KEY": "k" * 32,
    "PASSWORD_SALT": "s" * 32,
    "ENCRYPTION_KEYS": "bm90LXRoZS1kZXZlbG9wbWVudC1rZXktYXQtYWxsISE=",
    "FLOWER_PASSWORD": "of-flower",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin with no variable of ours and an empty directory."""
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def variables() -> set[str]:
    """Return every variable of the environment that the settings read."""
    source = Path(config.__file__).read_text()
    return {*re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source), "CRM_HOME", *(n for n in os.environ if "QUEUE_" in n)}


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return config.load()


def problems(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(monkeypatch, **values)
    return str(refused.value)


def test_with_nothing_set_a_developer_has_usable_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(monkeypatch)
    assert (found.env, found.production, found.port, found.host) == ("development", False, 8000, "127.0.0.1")
    assert found.broker_url == found.redis_url == "redis://127.0.0.1:6379/0"
    assert (found.lease.total_seconds(), found.lease_renewal.total_seconds()) == (45, 10)


def test_all_problems_are_told_at_once_by_name_and_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "PORT": "hunter2-port",
        "WEB_WORKERS": "0",
        "SECRET_KEY": "hunter2",
        "CRM_ENV": "hunter2-env",
        "QUEUE_AI_RATE": "hunter2-rate",
        "ENCRYPTION_KEYS": "",
        "HTTP_TIMEOUT": "-1",
    }
    said = problems(monkeypatch, **wrong)
    assert [line.split(":")[0].strip() for line in said.splitlines()[1:-1]] == sorted(wrong)
    assert "hunter2" not in said
    assert "docs/configuration.md" in said


def test_rates_of_single_tasks_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).task_rates == {}
    found = load(monkeypatch, TASK_RATES=" messages.send=20/m, ai.reply = 3/s ").task_rates
    assert found == {"messages.send": (20, timedelta(minutes=1)), "ai.reply": (3, timedelta(seconds=1))}


@pytest.mark.parametrize(
    "text",
    ["messages.send", "messages.send=", "messages.send=fast", "=20/m", "a.b=20/m,", "a.b=0/m", "a.b=1/s,a.b=2/s"],
)
def test_a_bad_rate_of_a_task_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert "\n  TASK_RATES: " in problems(monkeypatch, TASK_RATES=text)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"DATABASE_URL": "secret-host/crm"}, "DATABASE_URL: Not a URL."),
        ({"BROKER_URL": "kafka://u:secret@h"}, "BROKER_URL: Must begin with redis://, rediss:// or amqp://."),
        ({"LEASE": "10", "LEASE_RENEWAL": "6", "HTTP_TIMEOUT": "2"}, "LEASE_RENEWAL: Must be at most half of LEASE"),
        ({"HTTP_TIMEOUT": "35"}, "HTTP_TIMEOUT: Must be less than LEASE - LEASE_RENEWAL"),
        ({"UNKNOWN_WAIT": "60"}, r"UNKNOWN_WAIT: Must exceed LEASE \+ HTTP_TIMEOUT"),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    text = problems(monkeypatch, **values)
    assert re.search(said, text)
    assert "secret" not in text


@pytest.mark.parametrize("env", ["staging", "production"])
def test_where_customers_are_every_development_secret_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, env: str
) -> None:
    said = problems(monkeypatch, CRM_ENV=env)
    for name in ("SECRET_KEY", "PASSWORD_SALT", "ENCRYPTION_KEYS", "FLOWER_PASSWORD"):
        assert f"  {name}: " in said
    assert DEVELOPMENT_SECRET not in said and DEVELOPMENT_ENCRYPTION_KEY not in said
    assert load(monkeypatch, **{**PRODUCTION, "CRM_ENV": env}).production is (env == "production")


def test_an_old_development_key_is_refused_even_behind_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = f"{PRODUCTION['ENCRYPTION_KEYS']},{DEVELOPMENT_ENCRYPTION_KEY}"
    assert "ENCRYPTION_KEYS: " in problems(monkeypatch, **{**PRODUCTION, "ENCRYPTION_KEYS": keys})


def test_settings_shown_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "DATABASE_URL": "postgresql://crm:hunter2@h/crm",
        "REDIS_URL": "redis://:hunter2@h/0",
        "BROKER_URL": "amqp://u:hunter2@h//",
        "AI_API_KEY": "hunter2",
        "SECRET_KEY": "hunter2" * 5,
        "PASSWORD_SALT": "hunter2" * 5,
        "FLOWER_PASSWORD": "hunter2",
        "SANDBOX_ACCESS_TOKEN": "hunter2",
        "SANDBOX_APP_SECRET": "hunter2",
        "SANDBOX_VERIFY_TOKEN": "hunter2",
        "ENCRYPTION_KEYS": "hunter2",
    }
    assert "hunter2" not in repr(load(monkeypatch, **secrets))


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"REDIS_HOST": "h", "REDIS_PORT": "7", "REDIS_DB": "2"}, "redis://h:7/2"),
        ({"REDIS_PASSWORD": "p@ss:w/d"}, "redis://:p%40ss%3Aw%2Fd@127.0.0.1:6379/0"),
        ({"REDIS_URL": "rediss://h/1", "REDIS_HOST": "other"}, "rediss://h/1"),
    ],
)
def test_the_address_of_redis_is_composed_where_it_is_not_given(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], url: str
) -> None:
    assert load(monkeypatch, **values).redis_url == url


@pytest.mark.parametrize("prefix", ["postgres://", "postgresql://", "postgresql+psycopg://"])
def test_a_database_may_be_written_as_every_platform_does(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    assert load(monkeypatch, DATABASE_URL=f"{prefix}u:p@h/d").database_url == "postgresql+psycopg://u:p@h/d"


def test_the_environment_comes_first_then_the_directory_then_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "env").write_text("PORT=1\nFLOWER_PORT=1\nSANDBOX_PORT=1\n")
    (tmp_path / ".env").write_text("PORT=2\nFLOWER_PORT=2\n")
    # What the files set must not outlive this test.
    for name in ("FLOWER_PORT", "SANDBOX_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    found = load(monkeypatch, PORT="3")
    assert (found.port, found.flower_port, found.sandbox_port) == (3, 2, 1)


def test_every_variable_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    listed = set(re.findall(r"^#?\s*([A-Z][A-Z0-9_]+)=", example, re.M))
    assert {name for name in variables() if "QUEUE_" not in name or name == "QUEUE_CONCURRENCY"} - listed == set()


@pytest.mark.parametrize(
    ("env", "allowed"), [("development", True), ("test", True), ("staging", False), ("production", False)]
)
def test_webhooks_reach_private_addresses_only_where_one_develops(
    monkeypatch: pytest.MonkeyPatch, env: str, allowed: bool
) -> None:
    assert load(monkeypatch, **{**PRODUCTION, "CRM_ENV": env}).webhook_allow_private is allowed


def test_production_refuses_webhooks_to_private_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WEBHOOK_ALLOW_PRIVATE: " in problems(monkeypatch, **PRODUCTION, WEBHOOK_ALLOW_PRIVATE="true")
    assert load(monkeypatch, **{**PRODUCTION, "CRM_ENV": "staging"}, WEBHOOK_ALLOW_PRIVATE="true").webhook_allow_private
