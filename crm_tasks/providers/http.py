"""HTTP to providers: one session per process, a deadline over the whole call, another only where none can have left.

`requests` bounds each read, not the call: an answer that trickles would keep a worker for ever. A watcher closes the
socket at the deadline instead.
"""

import heapq
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

import crm_tasks
from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.log import get_logger
from crm_tasks.providers import tape

log = get_logger(__name__)

POOL = 50
MAX_BODY = 5 * 1024 * 1024
# ValueError: what requests cannot read as a URL is not always an error of its own.
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
_local = threading.local()


class NotSent(Exception):
    """The request cannot have reached the other side: no connection was made."""


class NoAnswer(Exception):
    """The request left, or may have; nobody knows what became of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request(method: str, url: str, *, timeout: float | None = None, **options: Any) -> Answer:
    """Make one request and return the answer, whatever its status.

    Args:
        timeout: seconds for all of it: every try, the pauses between them, and the answer's last byte.

    Raises:
        NotSent: no connection, after HTTP_RETRIES further tries. NoAnswer: anything after that.
    """
    with tape.http(method, url, options) as heard:
        answer = _tries(method, url, timeout, options)
        heard(answer)
    return answer


def _tries(method: str, url: str, timeout: float | None, options: dict[str, Any]) -> Answer:
    end = time.monotonic() + (timeout or longest())
    for delay in (*retry_delays(), None):
        try:
            return exchange(_session(), method, url, end=end, **options)
        except NotSent as error:
            if delay is None or time.monotonic() + delay >= end:
                raise
            metrics.count("http_retries")
            log.warning("http.retry", host=host_of(url), reason=str(error), delay=delay)
            time.sleep(delay)
    raise AssertionError("unreachable")


def host_of(url: str) -> str | None:
    """Return the host of an address, which a log line may name."""
    try:
        return urllib3.util.parse_url(url).host
    except ValueError:
        return None


def longest() -> float:
    """Return the seconds that a request may take at most, with all its tries."""
    return settings().http_timeout


def retry_delays() -> tuple[float, ...]:
    """Return the pauses before each further try of a request that cannot have left, in seconds."""
    config = settings()
    last = config.http_retry_delays[-1]
    return tuple((config.http_retry_delays + (last,) * config.http_retries)[: config.http_retries])


def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    end: float,
    most: int = MAX_BODY,
    cut: bool = False,
    **options: Any,
) -> Answer:
    """Make one request over a session whose adapters are of this module; redirects are not followed.

    Args:
        end: when all of it must be over, of this process's monotonic clock.
        most: bytes of the answer's body to read. A longer one is an error; with `cut` its rest is left, and what came
            is not unpacked, so that a small answer cannot become a large one.

    Raises:
        NotSent: no connection. NoAnswer: anything after that.
    """
    with _deadline(end):
        try:
            with _open(session, method, url, end, options) as response:
                return Answer(response.status_code, response.headers, _read(response, most, cut))
        except _FAILURES as error:
            raise _failure(error, end) from None


def _open(session: requests.Session, method: str, url: str, end: float, options: dict[str, Any]) -> requests.Response:
    left = max(0.05, end - time.monotonic())
    limits = (min(settings().http_connect_timeout, left), left)
    return session.request(method, url, timeout=limits, allow_redirects=False, stream=True, **options)


def _failure(error: Exception, end: float) -> NotSent | NoAnswer:
    return (NoAnswer if _local.left else NotSent)(_reason(error, end))


@dataclass(frozen=True, slots=True)
class Download:
    """An answer whose body comes piece by piece; reading it raises `NoAnswer` when it breaks off."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


@contextmanager
def download(
    url: str, *, timeout: float, session: requests.Session | None = None, **options: Any
) -> Iterator[Download]:
    """Fetch something that may be large: one try, nothing of it kept in memory, no redirect followed.

    Args:
        timeout: seconds until the last byte.
        session: another than the one of this module.

    Raises:
        NotSent: no connection. NoAnswer: anything after that.
    """
    end = time.monotonic() + timeout
    with _deadline(end):
        try:
            response = _open(session or _session(), "GET", url, end, options)
        except _FAILURES as error:
            raise _failure(error, end) from None
        with response:
            yield Download(response.status_code, response.headers, _pieces(response, end))


def _pieces(response: requests.Response, end: float) -> Iterator[bytes]:
    try:
        for piece in response.iter_content(65_536):
            if time.monotonic() >= end:
                raise TimeoutError
            yield piece
    except _FAILURES as error:
        raise _failure(error, end) from None


def _read(response: requests.Response, most: int, cut: bool) -> bytes:
    body = bytearray()
    for chunk in response.raw.stream(65_536, decode_content=False) if cut else response.iter_content(65_536):
        body += chunk
        if len(body) > most:
            if cut:
                break
            raise NoAnswer(f"an answer of more than {most} bytes")
    return bytes(body[:most])


def _reason(error: BaseException, end: float) -> str:
    """Return what kind of failure it was, without the address."""
    if time.monotonic() >= end:
        return "Timeout"  # and not the end of the connection, which our own deadline brought about
    while inner := _inner(error):
        error = inner
    return type(error).__name__


def _inner(error: BaseException) -> BaseException | None:
    """Return what a library's error wraps: urllib3 puts it into `reason` or behind a text."""
    wrapped = (getattr(error, "reason", None), *error.args[:2])
    return next((each for each in wrapped if isinstance(each, BaseException)), None)


# --- the session -------------------------------------------------------------------------------------------------


class _Connection(HTTPConnection):
    def send(self, data: Any) -> None:
        _leave(self)
        super().send(data)


class _SSLConnection(HTTPSConnection):
    def send(self, data: Any) -> None:
        _leave(self)
        super().send(data)


def _leave(connection: HTTPConnection) -> None:
    """Remember, before the first byte, that the request may arrive: the kind of a later error does not tell.

    A broken TLS record after the request, for one, is the same error as a handshake that failed. From here on the
    deadline is watched: a large request that nobody takes off us must end as well as an answer that trickles.
    """
    if connection.sock is None:
        connection.connect()
    if not _local.left:
        _watcher().watch(connection.sock)
    _local.left = True


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SSLPool(HTTPSConnectionPool):
    ConnectionCls = _SSLConnection


class Adapter(HTTPAdapter):
    """Connections that keep to the deadline of `exchange`, and know whether a request has left."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Use them."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SSLPool}


def new_session(**adapters: HTTPAdapter) -> requests.Session:
    """Return a session that speaks these schemes and no other, and knows nothing of the environment."""
    made = requests.Session()
    # Proxies and .netrc of the environment have no business with customers' messages.
    made.trust_env = False
    made.headers["User-Agent"] = f"whatsapp-crm/{crm_tasks.__version__}"
    made.adapters.clear()
    for scheme, adapter in adapters.items():
        made.mount(f"{scheme}://", adapter)
    return made


_shared: requests.Session | None = None
_lock = threading.Lock()


def _session() -> requests.Session:
    global _shared
    if _shared is None:
        with _lock:
            if _shared is None:
                adapter = Adapter(pool_connections=POOL, pool_maxsize=POOL, max_retries=0)
                _shared = new_session(http=adapter, https=adapter)
    return _shared


# --- the deadline ------------------------------------------------------------------------------------------------


@contextmanager
def _deadline(end: float) -> Iterator[None]:
    _local.end = end
    _local.watch = None
    _local.left = False
    try:
        yield
    finally:
        if _local.watch is not None:
            _local.watch.sock = None
        _local.end = None


@dataclass(order=True)
class _Watch:
    end: float
    sock: socket.socket | None = field(compare=False)


class _Watcher:
    """Shuts sockets down whose deadline has passed; the thread that reads from one then sees the connection end."""

    def __init__(self) -> None:
        self._heap: list[_Watch] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="deadlines", daemon=True).start()

    def watch(self, sock: socket.socket) -> None:
        end = getattr(_local, "end", None)
        if end is None:
            return
        _local.watch = _Watch(end, sock)
        with self._changed:
            heapq.heappush(self._heap, _local.watch)
            if self._heap[0] is _local.watch:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0].end > time.monotonic():
                    self._changed.wait(self._heap[0].end - time.monotonic() if self._heap else None)
                    while self._heap and self._heap[0].sock is None:
                        heapq.heappop(self._heap)
                watch = heapq.heappop(self._heap)
            sock = watch.sock
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


_the_watcher: _Watcher | None = None


def _watcher() -> _Watcher:
    global _the_watcher
    if _the_watcher is None:
        with _lock:
            if _the_watcher is None:
                _the_watcher = _Watcher()
    return _the_watcher


def _after_fork() -> None:
    global _shared, _the_watcher, _lock
    _shared, _the_watcher, _lock = None, None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
