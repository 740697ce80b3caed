"""Celery's Redis transport with few connections, which survives what it cannot read.

Kombu gives every channel two pools, and a worker has five channels: six to ten connections, of which three talk. Here
what is said in passing shares one, and waiting has its own. And a message in our lists that is not one would end
Celery's worker, the next one too if it is put back: it is counted, logged and left out. Its job, if it has one, is
still queued in the ledger and will be rung again.
"""

import base64
import threading
from collections.abc import Callable
from json import JSONDecodeError
from queue import Empty
from typing import Any

import orjson
from kombu.transport import redis as transport
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis import BlockingConnectionPool, ConnectionPool, RedisError

from crm_tasks.core import metrics
from crm_tasks.core.log import get_logger

log = get_logger(__name__)
_shared: dict[str, ConnectionPool] = {}
_lock = threading.Lock()


def _none() -> int:
    return 0


_free: Callable[[], int] = _none


def free() -> int:
    """Return how many messages this process could begin at this moment, beside those that it has."""
    return _free()


def ask_free(how: Callable[[], int]) -> None:
    """Let a worker say how many slots it has free; without that, messages are taken one by one."""
    global _free
    _free = how


class Channel(transport.Channel):
    """A channel that publishes on the connection of its process and waits on one of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Its first PING was on the connection that waits; a channel that only publishes needs none.
        self.async_pool.disconnect(inuse_connections=False)

    @property
    def pool(self) -> ConnectionPool:
        """Return the pool that all channels of a process share."""
        if self._pool is None:
            params = self._connparams()
            self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
            self._pool = _pool(str(self.connection.client.as_uri(include_password=True)), params)
        return self._pool

    def _disconnect_pools(self) -> None:
        # The shared one is not this channel's to close.
        self._pool = None
        super()._disconnect_pools()

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        try:
            super()._restore(message, leftmost)
        except RedisError:
            # Kombu would write it to a file in /tmp, for nobody: its job is in the ledger and will be rung again.
            metrics.count("rings_failed")
            log.warning("broker.not_restored")

    def _brpop_read(self, **options: Any) -> Any:
        """Deliver the message that came, and as many more of its list as there are free slots for.

        Kombu asks for each alone: half of what a small job costs a worker is that asking.
        """
        try:
            try:
                popped = self.client.parse_response(self.client.connection, "BRPOP", **options)
                if not popped:
                    raise Empty
                key = bytes_to_str(popped[0])
                self._take(key, popped[1])
                for each in self._more(key, free()):
                    self._take(key, each)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            return True
        finally:
            self._in_poll = None  # type: ignore[assignment]
            self._flush_brpop_reauth()

    def _more(self, key: str, count: int) -> list[bytes]:
        if count < 1:
            return []
        self.client.connection.send_command("RPOP", f"{self.global_keyprefix}{key}", count)
        return self.client.parse_response(self.client.connection, "RPOP") or []

    def _take(self, key: str, item: bytes) -> None:
        queue = key.rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        try:
            message = loads(bytes_to_str(item))
        except (UnicodeDecodeError, JSONDecodeError):
            _leave_out(None)
        else:
            self.connection._deliver(message, queue)


class Transport(transport.Transport):
    """Kombu's Redis transport with these channels."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if _is_readable(message):
            super()._deliver(message, queue)
        else:
            _leave_out(message)


def _pool(url: str, params: dict[str, Any]) -> ConnectionPool:
    with _lock:
        if url not in _shared:
            single = {**params, "max_connections": 1, "timeout": params["socket_timeout"]}
            _shared[url] = BlockingConnectionPool(**single)
        return _shared[url]


def _is_readable(message: Any) -> bool:
    """Say whether a message has all that kombu and Celery take for granted."""
    try:
        properties, headers = message["properties"], message["headers"]
        texts = [properties["delivery_tag"]]
        if "task" in headers:
            texts += [headers["task"], headers["id"]]
            _args, _kwargs, _embedded = orjson.loads(base64.b64decode(message["body"]))
        shapes = isinstance(headers, dict) and isinstance(properties["delivery_info"], dict)
        return shapes and all(isinstance(text, str) for text in texts)
    except (KeyError, TypeError, ValueError):
        return False


def _leave_out(message: Any) -> None:
    metrics.count("rings_foreign")
    headers = message.get("headers") if isinstance(message, dict) else None
    job_id = headers.get("id", "") if isinstance(headers, dict) else ""
    log.error("job.unreadable_message", job_id=str(job_id)[:64])
