"""A cache in Redis that may be away at any time: reads miss, writes are lost, nobody waits. Every entry expires."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import orjson
import redis

from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.redis import manager

log = get_logger(__name__)
T = TypeVar("T")


# What counts more rows than this is kept for at least so long, and for ten times as long as the counting took.
_MANY, LEAST, _TIMES = 5_000, timedelta(seconds=2), 10


class TTL:
    """How long each kind of entry lives."""

    USER_PERMISSIONS = timedelta(seconds=300)
    CONTACT_DETAILS = timedelta(seconds=60)
    CAMPAIGN_STATS = timedelta(seconds=30)
    ANALYTICS_DASHBOARD = timedelta(seconds=300)
    SEGMENT_COUNTS = timedelta(seconds=300)


def get(key: str) -> Any | None:
    """Return what was stored, or None if there is nothing or Redis does not answer."""
    found = _softly(lambda client: _read(client, key), None)
    metrics.count("cache_misses" if found is None else "cache_hits")
    return found


def set(key: str, value: Any, ttl: timedelta) -> bool:
    """Store a JSON value for `ttl`; False if Redis does not answer."""
    return bool(_softly(lambda client: client.set(_key(key), orjson.dumps(value), px=ttl), False))


def delete(*keys: str) -> int:
    """Forget entries and return how many there were."""
    return _softly(lambda client: client.delete(*map(_key, keys)), 0) if keys else 0


def exists(key: str) -> bool:
    """Say whether there is such an entry."""
    return bool(_softly(lambda client: client.exists(_key(key)), 0))


def incr(key: str, ttl: timedelta, by: int = 1) -> int | None:
    """Add to a counter that lives for `ttl` from its first use; None if Redis does not answer."""

    def add(client: redis.Redis) -> int:
        pipe = client.pipeline(transaction=True)
        pipe.set(_key(key), 0, px=ttl, nx=True)
        pipe.incrby(_key(key), by)
        return pipe.execute()[1]

    return _softly(add, None)


def get_or_load(key: str, loader: Callable[[], T], ttl: timedelta) -> T:
    """Return what is stored, or what the loader says, stored for next time."""
    found = get(key)
    if found is not None:
        return found
    value = loader()
    if value is not None:
        set(key, value, ttl)
    return value


def counted(key: str, loader: Callable[[], T], size: Callable[[T], int], *, least: timedelta = LEAST) -> T:
    """Return what the loader counts. Of many rows it is what was counted some time ago: however often it is looked at,
    counting takes at most a tenth of the time.

    Args:
        size: how many rows such a value has counted.
        least: how long what counted many is kept at least.
    """
    found = get(key)
    if found is not None:
        return found
    began = time.monotonic()
    value = loader()
    if size(value) > _MANY:
        set(key, value, max(least, _TIMES * timedelta(seconds=time.monotonic() - began)))
    return value


def _read(client: redis.Redis, key: str) -> Any | None:
    found = client.get(_key(key))
    return None if found is None else orjson.loads(found)


def _key(key: str) -> str:
    return f"{settings().key_prefix}cache:{key}"


def _softly(command: Callable[[redis.Redis], Any], otherwise: Any) -> Any:
    try:
        return command(manager().client())
    except (redis.RedisError, orjson.JSONDecodeError) as error:
        metrics.count("cache_errors")
        if rarely("cache.error"):
            log.warning("cache.error", error=type(error).__name__)
        return otherwise
