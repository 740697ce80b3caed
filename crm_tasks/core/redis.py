"""Redis: one manager per process, named clients, nothing queued while it is away, everything closed at shutdown.

Two names: `main` (cache, pace) at REDIS_URL and `broker` at BROKER_URL; with one URL they are one client. Celery keeps
its own connections. Commands fail fast; who needs Redis to come back waits with `wait_until_ready`.
"""

import os
import threading
import time
from contextlib import suppress
from typing import Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from crm_tasks.config import settings
from crm_tasks.core.errors import ConfigError
from crm_tasks.core.log import get_logger

log = get_logger(__name__)
Name = Literal["main", "broker"]

COMMAND_TIMEOUT = 1.0
POOL = 8
# Between tries while a process runs: doubling, never more than 5 s, without end.
RETRY_CAP = 5.0


class _Logged:
    """Says when a connection of a pool opens and closes."""

    def on_connect(self, *args: Any, **kwargs: Any) -> Any:
        answer = super().on_connect(*args, **kwargs)  # type: ignore[misc]
        log.info("redis.connected", shared=True)
        return answer


class _Connection(_Logged, redis.Connection):
    pass


class _SSLConnection(_Logged, redis.SSLConnection):
    pass


class RedisManager:
    """The Redis clients of one process."""

    def __init__(self) -> None:
        self._clients: dict[str, redis.Redis] = {}
        self._lock = threading.Lock()

    def client(self, name: Name = "main") -> redis.Redis:
        """Return the client of this name, made at first use.

        Raises:
            ConfigError: `broker` where the broker is not Redis.
        """
        url = settings().redis_url if name == "main" else settings().broker_url
        if not url.startswith(("redis", "unix")):
            raise ConfigError("The broker is not Redis: nothing can be asked of it this way.")
        with self._lock:
            if url not in self._clients:
                self._clients[url] = _connect(url)
            return self._clients[url]

    def ping(self, name: Name = "main") -> bool:
        """Ask for an answer within a second; False is no answer."""
        try:
            return bool(self.client(name).ping())
        except redis.RedisError:
            return False

    def is_connected(self, name: Name = "main") -> bool:
        """Say whether a connection of this client is open and answers."""
        url = settings().redis_url if name == "main" else settings().broker_url
        return url in self._clients and self.ping(name)

    def close_all(self) -> None:
        """Close every connection of this process."""
        with self._lock:
            for client in self._clients.values():
                with suppress(redis.RedisError):
                    client.close()
            closed, self._clients = len(self._clients), {}
        if closed:
            log.info("redis.closed", clients=closed)


_manager: RedisManager | None = None


def manager() -> RedisManager:
    """Return the manager of this process; a forked child gets one of its own."""
    global _manager
    if _manager is None:
        _manager = RedisManager()
    return _manager


def _after_fork() -> None:
    global _manager
    _manager = None


os.register_at_fork(after_in_child=_after_fork)


def wait_until_ready(name: Name = "main", *, seconds: float | None = 30.0) -> None:
    """Wait until Redis answers: doubling pauses up to 5 s, for `seconds`, or for ever if None.

    Raises:
        ConfigError: it did not answer in time; says what to check.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    pause = 0.05
    while not manager().ping(name):
        if deadline is not None and time.monotonic() + pause > deadline:
            raise ConfigError(
                f"Redis ({name}) did not answer within {seconds:g} s. Check REDIS_URL; `crm status` tells more."
            )
        time.sleep(pause)
        pause = min(pause * 2, RETRY_CAP)


def _connect(url: str) -> redis.Redis:
    options: dict[str, Any] = {} if url.startswith("unix") else {"connection_class": _Connection}
    if url.startswith("rediss"):
        options = {"connection_class": _SSLConnection}
    return redis.Redis.from_url(
        url,
        socket_timeout=COMMAND_TIMEOUT,
        socket_connect_timeout=COMMAND_TIMEOUT,
        socket_keepalive=True,
        health_check_interval=25,
        max_connections=POOL,
        # redis-py would try ten times, seconds long, with the caller waiting.
        retry=Retry(NoBackoff(), 0),
        client_name="crm",
        **options,
    )
