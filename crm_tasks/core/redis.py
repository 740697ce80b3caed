"""Redis: one manager per process, named clients, nothing queued while it is away, everything closed at shutdown.

Two names: `main` (cache, pace) at REDIS_URL and `broker` at BROKER_URL; with one URL they are one client. Commands fail
fast. Celery keeps its own connections, which come back by themselves for ever, with at most 5 s between tries.
"""

import os
import threading
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
POOL = 2


class _Logged:
    """Says when a connection of a pool opens and closes."""

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> Any:
        """Greet the server; redis-py's `connect` calls this one, and `on_connect` only for those who ask for it."""
        answer = super().on_connect_check_health(*args, **kwargs)  # type: ignore[misc]
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


def _connect(url: str) -> redis.Redis:
    options: dict[str, Any] = {} if url.startswith("unix") else {"connection_class": _Connection}
    if url.startswith("rediss"):
        options = {"connection_class": _SSLConnection}
    pool = redis.BlockingConnectionPool.from_url(
        url,
        socket_timeout=COMMAND_TIMEOUT,
        socket_connect_timeout=COMMAND_TIMEOUT,
        socket_keepalive=True,
        health_check_interval=25,
        max_connections=POOL,
        timeout=COMMAND_TIMEOUT,
        # redis-py would try ten times, seconds long, with the caller waiting.
        retry=Retry(NoBackoff(), 0),
        client_name="crm",
        **options,
    )
    return redis.Redis.from_pool(pool)
