"""Settings from the environment: typed, defaulted, checked all at once. The only reader of `os.environ`.

Values come from, first one wins: the process environment, `.env` in the working directory, and `CRM_HOME/env`, which
`crm up` writes (mode 0600) with the addresses and generated secrets of its embedded servers. So a second terminal
finds the running system without any set-up.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, urlsplit

from environs import Env, EnvError
from environs import validate as check

from crm_tasks.core.errors import ConfigError
from crm_tasks.core.queues import QueuePolicy, queue_policies, task_rates

DEVELOPMENT_SECRET = "development-only-secret-change-me"  # noqa: S105
DEVELOPMENT_ENCRYPTION_KEY = "ZGV2ZWxvcG1lbnQtb25seS1lbmNyeXB0aW9uLWtleTA="
ENVIRONMENTS = ("development", "test", "staging", "production")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the system. Durations are seconds unless the name says otherwise."""

    env: str
    home: Path
    log_level: str

    host: str
    port: int
    public_url: str
    trusted_proxies: int
    web_workers: int
    web_threads: int
    flower_port: int
    flower_user: str
    flower_password: str = field(repr=False)
    sandbox_port: int
    sandbox_smtp_port: int
    # Only set while `crm up` runs the sandbox; the rest are what its demo number has.
    sandbox_webhook_url: str
    sandbox_phone_number_id: str
    sandbox_waba_id: str
    sandbox_display_phone_number: str
    sandbox_access_token: str = field(repr=False)
    sandbox_app_secret: str = field(repr=False)
    sandbox_verify_token: str = field(repr=False)
    postgres_port: int
    valkey_port: int

    database_url: str = field(repr=False)
    database_pool_size: int
    database_pool_timeout: float
    database_slow_query: timedelta
    database_pool_usage_threshold: float
    redis_url: str = field(repr=False)
    redis_timeout: float
    broker_url: str = field(repr=False)
    key_prefix: str

    secret_key: str = field(repr=False)
    encryption_keys: tuple[str, ...] = field(repr=False)
    password_salt: str = field(repr=False)

    whatsapp_base_url: str
    whatsapp_api_version: str
    http_connect_timeout: float
    http_timeout: float
    http_retries: int
    http_retry_delays: tuple[float, ...]
    unknown_wait: timedelta
    email_api_url: str
    sms_api_url: str
    window_margin: timedelta

    media_path: Path
    media_hosts: tuple[str, ...]
    media_timeout: float
    media_days: int

    import_path: Path
    import_max_bytes: int
    import_days: int

    export_path: Path
    export_days: int
    export_link_hours: int

    ai_base_url: str
    ai_api_key: str = field(repr=False)
    ai_model: str
    ai_max_tokens_field: str
    ai_timeout: float
    reply_window: timedelta

    # Where notifications by e-mail go out, and from whom; without a URL there are none.
    alert_smtp_url: str = field(repr=False)
    alert_from: str

    webhook_allow_private: bool
    webhook_timeout: float
    webhook_max_bytes: int
    ingest_timeout: float
    ingest_queue: int
    lease: timedelta
    lease_renewal: timedelta
    queue_concurrency: int | None
    queues: dict[str, QueuePolicy]
    task_rates: dict[str, tuple[int, timedelta]]
    history_days: int
    raw_event_days: int
    cleanup_retention: timedelta
    credentials_cache_ttl: timedelta

    @property
    def production(self) -> bool:
        """Whether real customers are behind this process."""
        return self.env == "production"

    @property
    def outside_url(self) -> str:
        """Where the outside reaches the web app, without a slash at the end; this machine without PUBLIC_URL."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"

    @property
    def file_timeout(self) -> float:
        """Seconds to fetch or bring one file: what is set, but never to the end of what its job may take."""
        return min(self.media_timeout, self.queues["messages"].time_limit * 0.9)

    @property
    def uses_sandbox(self) -> bool:
        """Whether the simulated outside world runs beside this system."""
        return bool(self.sandbox_webhook_url)

    @property
    def broker_is_redis(self) -> bool:
        """Whether the broker speaks Redis; anything else is RabbitMQ."""
        return self.broker_url.startswith(("redis", "unix", "valkey"))


def load() -> Settings:
    """Read and check the environment.

    Raises:
        ConfigError: names every bad or missing variable at once, never a value.
    """
    env = Env(eager=False)
    home = Path(os.environ.get("CRM_HOME") or ".crm").expanduser().resolve()
    for path in (Path(".env"), home / "env"):
        if path.is_file():
            env.read_env(str(path), override=False)
    values = _values(env, home)
    problems = _problems(env)
    problems += [] if problems else _contradictions(values)
    if problems:
        raise ConfigError(
            "The environment is not usable:\n"
            + "\n".join(f"  {line}" for line in problems)
            + "\nEvery variable is described in docs/configuration.md."
        )
    return Settings(**values)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return load()


def _values(env: Env, home: Path) -> dict:
    port = check.Range(1, 65535)
    some = check.Length(min=1)
    positive = check.Range(min=0, min_inclusive=False)
    redis_url = env.str("REDIS_URL", "") or _compose_redis_url(env)
    return {
        "env": env.str("CRM_ENV", "development", validate=check.OneOf(ENVIRONMENTS)),
        "home": home,
        "log_level": env.str("LOG_LEVEL", "").upper(),
        "host": env.str("HOST", "127.0.0.1", validate=some),
        "port": env.int("PORT", 8000, validate=port),
        "public_url": env.str("PUBLIC_URL", ""),
        "trusted_proxies": env.int("TRUSTED_PROXIES", 0, validate=check.Range(0, 10)),
        "web_workers": env.int("WEB_WORKERS", 2, validate=check.Range(1, 64)),
        "web_threads": env.int("WEB_THREADS", 32, validate=check.Range(1, 256)),
        "flower_port": env.int("FLOWER_PORT", 5555, validate=port),
        "flower_user": env.str("FLOWER_USER", "admin", validate=some),
        "flower_password": env.str("FLOWER_PASSWORD", ""),
        "sandbox_port": env.int("SANDBOX_PORT", 8900, validate=port),
        "sandbox_smtp_port": env.int("SANDBOX_SMTP_PORT", 8925, validate=port),
        "sandbox_webhook_url": env.str("SANDBOX_WEBHOOK_URL", ""),
        "sandbox_phone_number_id": env.str("SANDBOX_PHONE_NUMBER_ID", ""),
        "sandbox_waba_id": env.str("SANDBOX_WABA_ID", ""),
        "sandbox_display_phone_number": env.str("SANDBOX_DISPLAY_PHONE_NUMBER", ""),
        "sandbox_access_token": env.str("SANDBOX_ACCESS_TOKEN", ""),
        "sandbox_app_secret": env.str("SANDBOX_APP_SECRET", ""),
        "sandbox_verify_token": env.str("SANDBOX_VERIFY_TOKEN", ""),
        "postgres_port": env.int("POSTGRES_PORT", 15432, validate=port),
        "valkey_port": env.int("VALKEY_PORT", 16379, validate=port),
        "database_url": _psycopg(env.str("DATABASE_URL", "postgresql+psycopg://127.0.0.1/crm", validate=some) or ""),
        "database_pool_size": env.int("DATABASE_POOL_SIZE", 8, validate=check.Range(1, 100)),
        "database_pool_timeout": env.float("DATABASE_POOL_TIMEOUT", 2.0, validate=positive),
        "database_slow_query": _duration(env.int("DB_QUERY_LATENCY_THRESHOLD_MS", 500, validate=check.Range(1)), 1000),
        "database_pool_usage_threshold": env.float("DB_POOL_USAGE_THRESHOLD", 0.8, validate=check.Range(0, 1)),
        "redis_url": redis_url,
        "redis_timeout": env.float("REDIS_TIMEOUT", 15.0, validate=positive),
        "broker_url": env.str("BROKER_URL", "") or redis_url,
        "key_prefix": env.str("KEY_PREFIX", "crm:", validate=some),
        "secret_key": env.str("SECRET_KEY", DEVELOPMENT_SECRET, validate=check.Length(min=16)),
        "encryption_keys": tuple(env.list("ENCRYPTION_KEYS", [DEVELOPMENT_ENCRYPTION_KEY], validate=some) or ()),
        "password_salt": env.str("PASSWORD_SALT", DEVELOPMENT_SECRET, validate=check.Length(min=16)),
        "whatsapp_base_url": env.str("WHATSAPP_BASE_URL", "https://graph.facebook.com", validate=some),
        "whatsapp_api_version": env.str("WHATSAPP_API_VERSION", "v26.0", validate=check.Regexp(r"^v\d+\.\d+$")),
        "http_connect_timeout": env.float("HTTP_CONNECT_TIMEOUT", 5.0, validate=positive),
        "http_timeout": env.float("HTTP_TIMEOUT", 20.0, validate=positive),
        "http_retries": env.int("HTTP_RETRIES", 3, validate=check.Range(0, 10)),
        "http_retry_delays": tuple(env.list("HTTP_RETRY_DELAYS", [1.0, 2.0, 4.0], subcast=float, validate=some) or ()),
        "unknown_wait": _duration(env.int("UNKNOWN_WAIT", 180, validate=check.Range(1))),
        "email_api_url": env.str("EMAIL_API_URL", ""),
        "sms_api_url": env.str("SMS_API_URL", ""),
        "window_margin": _duration(env.int("WINDOW_MARGIN", 300, validate=check.Range(0, 3600))),
        "media_path": Path(env.str("MEDIA_PATH", "") or home / "media").expanduser().resolve(),
        "media_hosts": tuple(
            env.list("MEDIA_HOSTS", ["lookaside.fbsbx.com", "fbcdn.net", "whatsapp.net"], validate=some) or ()
        ),
        "media_timeout": env.float("MEDIA_TIMEOUT", 50.0, validate=positive),
        "media_days": env.int("MEDIA_DAYS", 400, validate=check.Range(1)),
        "import_path": Path(env.str("IMPORT_PATH", "") or home / "imports").expanduser().resolve(),
        "import_max_bytes": env.int("IMPORT_MAX_BYTES", 200 * 1024 * 1024, validate=check.Range(1024)),
        "import_days": env.int("IMPORT_DAYS", 30, validate=check.Range(1)),
        "export_path": Path(env.str("EXPORT_PATH", "") or home / "exports").expanduser().resolve(),
        "export_days": env.int("EXPORT_DAYS", 7, validate=check.Range(1)),
        "export_link_hours": env.int("EXPORT_LINK_HOURS", 24, validate=check.Range(1)),
        "ai_base_url": env.str("AI_BASE_URL", "https://api.openai.com/v1", validate=some),
        "ai_api_key": env.str("AI_API_KEY", ""),
        "ai_model": env.str("AI_MODEL", "gpt-5-mini", validate=some),
        "ai_max_tokens_field": env.str(
            "AI_MAX_TOKENS_FIELD",
            "max_completion_tokens",
            validate=check.OneOf(("max_completion_tokens", "max_tokens")),
        ),
        "ai_timeout": env.float("AI_TIMEOUT", 60.0, validate=positive),
        "reply_window": _duration(env.float("REPLY_WINDOW", 0.0, validate=check.Range(0, 600))),
        "alert_smtp_url": env.str("ALERT_SMTP_URL", ""),
        "alert_from": env.str("ALERT_FROM", "crm@localhost", validate=some),
        "webhook_allow_private": _allows_private(env),
        "webhook_timeout": env.float("WEBHOOK_TIMEOUT", 15.0, validate=check.Range(1, 25)),
        "webhook_max_bytes": env.int("WEBHOOK_MAX_BYTES", 3 * 1024 * 1024, validate=check.Range(1024)),
        "ingest_timeout": env.float("INGEST_TIMEOUT", 2.0, validate=positive),
        "ingest_queue": env.int("INGEST_QUEUE", 2000, validate=check.Range(1)),
        "lease": _duration(env.float("LEASE", 45.0, validate=check.Range(1))),
        "lease_renewal": timedelta(seconds=env.float("LEASE_RENEWAL", 10.0, validate=positive)),
        "queue_concurrency": env.int("QUEUE_CONCURRENCY", None, validate=check.Range(1)),
        "queues": queue_policies(env),
        "task_rates": task_rates(env),
        "history_days": env.int("HISTORY_DAYS", 400, validate=check.Range(1)),
        "raw_event_days": env.int("RAW_EVENT_DAYS", 30, validate=check.Range(1)),
        "cleanup_retention": timedelta(days=env.int("DB_CLEANUP_RETENTION_DAYS", 30, validate=check.Range(1)) or 0),
        "credentials_cache_ttl": _duration(env.int("CREDENTIALS_CACHE_TTL_MS", 300_000, validate=check.Range(1)), 1000),
    }


def _allows_private(env: Env) -> bool:
    """Say whether webhooks may go to plain http and to private addresses: by default where one develops and tests."""
    given = env.bool("WEBHOOK_ALLOW_PRIVATE", None)
    return env.str("CRM_ENV", "development") in ("development", "test") if given is None else given


def _duration(value: float | None, per_second: int = 1) -> timedelta:
    """Return a length of time; of a bad value there is none, and `_problems` names its variable."""
    return timedelta(seconds=(value or 0) / per_second)


def _problems(env: Env) -> list[str]:
    try:
        env.seal()
    except EnvError as error:
        messages = getattr(error, "error_messages", {})
        return [f"{name}: {' '.join(map(str, texts))}" for name, texts in sorted(messages.items())]
    return []


def _contradictions(values: dict) -> list[str]:
    """Return what is wrong between values that are each valid alone."""
    urls = ("database_url", "redis_url", "broker_url")
    found = [f"{name.upper()}: Not a URL." for name in urls if not urlsplit(values[name]).scheme]
    if not values["broker_url"].startswith(("redis", "amqp", "unix")):
        found.append("BROKER_URL: Must begin with redis://, rediss:// or amqp://.")
    if values["sms_api_url"] and not values["sms_api_url"].startswith(("https://", "http://")):
        found.append("SMS_API_URL: Must begin with https:// or http://.")
    if values["lease_renewal"] * 2 > values["lease"]:
        found.append("LEASE_RENEWAL: Must be at most half of LEASE, so that one lost renewal does no harm.")
    if timedelta(seconds=values["http_timeout"]) >= values["lease"] - values["lease_renewal"]:
        found.append("HTTP_TIMEOUT: Must be less than LEASE - LEASE_RENEWAL, or no send could be sure of its lease.")
    if values["unknown_wait"] < values["lease"] + timedelta(seconds=values["http_timeout"]):
        found.append("UNKNOWN_WAIT: Must exceed LEASE + HTTP_TIMEOUT, or a send still under way could be repeated.")
    if values["webhook_allow_private"] and values["env"] == "production":
        found.append(
            "WEBHOOK_ALLOW_PRIVATE: Refused in production: customers could reach the network behind this system."
        )
    if values["alert_smtp_url"] and not _is_smtp(values["alert_smtp_url"]):
        found.append("ALERT_SMTP_URL: Must be like smtp://user:password@host:587?starttls=1, or smtps://….")
    if values["env"] in ("staging", "production"):
        found += _development_secrets(values)
    return found


def _is_smtp(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _development_secrets(values: dict) -> list[str]:
    found = [
        f"{name.upper()}: The development secret is refused here. Set 32 random bytes."
        for name in ("secret_key", "password_salt")
        if values[name] == DEVELOPMENT_SECRET
    ]
    if DEVELOPMENT_ENCRYPTION_KEY in values["encryption_keys"]:
        found.append("ENCRYPTION_KEYS: The development key is refused here. `crm key encryption` prints a new one.")
    if not values["flower_password"]:
        found.append("FLOWER_PASSWORD: Must be set, Flower is never open.")
    return found


def _compose_redis_url(env: Env) -> str:
    password = env.str("REDIS_PASSWORD", "")
    user = env.str("REDIS_USER", "")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{env.str('REDIS_HOST', '127.0.0.1')}:{env.int('REDIS_PORT', 6379)}/{env.int('REDIS_DB', 0)}"


def _psycopg(url: str) -> str:
    """Name the driver in a database URL as every platform writes it."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url
