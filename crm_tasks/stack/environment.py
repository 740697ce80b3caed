"""What comes from the user and what from us: which servers are embedded, and the environment of every child.

Its one rule: what the user set (process environment, then `.env`) always wins over CRM_HOME/env. It stands
before config.py, which cannot be read until the secrets exist: the one place of the stack with `os.environ`.
"""

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from crm_tasks.config import Settings, settings
from crm_tasks.core.errors import ConfigError
from crm_tasks.stack import home as homes
from crm_tasks.stack import postgres, valkey

REDIS = frozenset({"REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_USER", "REDIS_PASSWORD"})
AI = frozenset({"AI_BASE_URL", "AI_API_KEY"})
WEBHOOK = "SANDBOX_WEBHOOK_URL"
# Rewritten at every start: they hold only as long as what they name is what runs.
ADDRESSES = frozenset({"DATABASE_URL", "REDIS_URL", WEBHOOK}) | AI
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What this start runs itself, rather than reaching it at the user's address."""

    postgres: bool
    valkey: bool
    sandbox: bool
    sandbox_ai: bool


def location() -> Path:
    """Return where CRM_HOME is, exactly as config.py finds it."""
    return Path(os.environ.get("CRM_HOME") or ".crm").expanduser().resolve()


def plan(home: Path, *, sandbox: bool) -> Plan:
    """Decide what is embedded."""
    given = _given(home)
    return Plan(
        postgres="DATABASE_URL" not in given,
        valkey=not REDIS & given.keys(),
        sandbox=sandbox,
        sandbox_ai=sandbox and not AI & given.keys(),
    )


def apply(home: Path, decided: Plan) -> None:
    """Write the addresses of this start to CRM_HOME/env and bring the settings of this process up to date."""
    given, known = _given(home), homes.values(home)
    os.environ["CRM_HOME"] = str(home)
    if decided.postgres:
        # A blank one, or none, is no obstacle to reading the ports.
        os.environ["DATABASE_URL"] = postgres.address(0, "")
    settings.cache_clear()
    config = settings()
    addresses: dict[str, str] = {}
    if decided.postgres:
        addresses["DATABASE_URL"] = postgres.address(config.postgres_port, known["POSTGRES_PASSWORD"])
    if decided.valkey:
        addresses["REDIS_URL"] = valkey.address(config.valkey_port, known["VALKEY_PASSWORD"])
    if decided.sandbox_ai:
        addresses["AI_BASE_URL"] = f"http://127.0.0.1:{config.sandbox_port}/v1"
        addresses["AI_API_KEY"] = known.get("AI_API_KEY") or "sandbox-" + secrets.token_urlsafe(18)
    if decided.sandbox and WEBHOOK not in given:
        addresses[WEBHOOK] = f"{web_url(config)}/webhooks/whatsapp"
    kept = {key: value for key, value in known.items() if key not in ADDRESSES}
    homes.save(home, kept | addresses)
    # An address of an earlier start may have come in with a shell that had read CRM_HOME/env.
    for name in ADDRESSES - given.keys():
        os.environ.pop(name, None)
    os.environ.update(kept | addresses | given)
    os.environ["CRM_HOME"] = str(home)
    settings.cache_clear()


def of_children() -> dict[str, str]:
    """Return the environment of everything the supervisor starts from the Procfile."""
    programs = str(Path(sys.executable).parent)
    paths = [path for path in os.environ.get("PATH", os.defpath).split(os.pathsep) if path != programs]
    # Glibc gives each thread an arena of its own: in a worker of 20 threads that is memory for nothing.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    return {**os.environ, "PATH": os.pathsep.join([programs, *paths]), "PYTHONUNBUFFERED": "1"}


def web_url(config: Settings) -> str:
    """Return where a browser on this machine finds the web app."""
    host = _WILDCARDS.get(config.host) or (f"[{config.host}]" if ":" in config.host else config.host)
    return f"http://{host}:{config.port}"


def wants_colour() -> bool:
    """Say whether the user allows colours on a terminal (see no-color.org)."""
    return not os.environ.get("NO_COLOR")


def stop_grace() -> float:
    """Return the seconds that running work gets to finish when the system stops (STOP_GRACE, 30)."""
    text = os.environ.get("STOP_GRACE") or "30"
    try:
        grace = float(text)
    except ValueError:
        grace = -1.0
    if grace < 0:
        raise ConfigError("STOP_GRACE: Must be a number of seconds, 0 or more.")
    return grace


def _given(home: Path) -> dict[str, str]:
    """Return what the user set, without blanks and without what CRM_HOME/env says just the same."""
    ours = homes.values(home)
    dotenv = {key: value for key, value in dotenv_values(".env").items() if value is not None}
    return {key: value for key, value in (dotenv | dict(os.environ)).items() if value and ours.get(key) != value}
