"""Is a server there? Probes of Postgres, Redis and HTTP, and waiting for one of them.

Its one rule: a probe returns within its timeout, whatever the network, the resolver or a stopped server does,
and its message names the cause without a secret.

The drivers are loaded by the probes that use them: the supervisor lives as long as the system, and needs HTTP only.
"""

import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPSConnection
from socket import getaddrinfo
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from crm_tasks.core.errors import ConfigError

if TYPE_CHECKING:
    from psycopg import pq

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_ONE_PROBE = 2.0


class Trouble(StrEnum):
    """What can be wrong with a server, by where to look."""

    DNS = "dns"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    AUTHENTICATION = "authentication"
    TLS = "tls"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look at a server found. `latency` is seconds; `kind` is None when all is well."""

    ok: bool
    kind: Trouble | None
    message: str
    latency: float


class NotReady(ConfigError):
    """A server that is needed did not answer in time."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe.message)
        self.kind = probe.kind
        self._probe = probe

    def __reduce__(self) -> tuple[type["NotReady"], tuple[Probe]]:
        return NotReady, (self._probe,)


class _Failed(Exception):
    def __init__(self, kind: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def probe_postgres(url: str, timeout: float = _ONE_PROBE) -> Probe:
    """Log in to Postgres at a URL, with or without SQLAlchemy's driver name in it."""
    scheme, _, rest = url.partition("://")
    plain = f"{scheme.partition('+')[0]}://{rest}"
    return _probe("Postgres", plain, timeout, lambda deadline: _log_in(plain, deadline))


def probe_redis(url: str, timeout: float = _ONE_PROBE) -> Probe:
    """Log in to Redis or Valkey at a URL and PING it."""
    return _probe("Redis", url, timeout, lambda deadline: _ping(url, deadline))


def probe_broker(url: str, timeout: float = _ONE_PROBE) -> Probe:
    """Log in to what carries the tasks: Redis, or RabbitMQ for `amqp://` and `amqps://`."""
    if not url.startswith("amqp"):
        return probe_redis(url, timeout)
    return _probe("RabbitMQ", url, timeout, lambda deadline: _open(urlsplit(url), deadline))


def probe_http(url: str, timeout: float = _ONE_PROBE) -> Probe:
    """GET a URL; a status below 400 is well."""
    return _probe("HTTP", url, timeout, lambda deadline: _get(urlsplit(url), deadline))


def wait_until_ready(
    probe: Callable[[float], Probe], timeout: float, *, check: Callable[[], None] | None = None
) -> Probe:
    """Probe at growing intervals until the server answers; `check` runs between and may raise to give up.

    Raises:
        NotReady: after `timeout` seconds, or at once when waiting cannot help (credentials, TLS).
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while True:
        found = probe(max(0.1, min(_ONE_PROBE, deadline - time.monotonic())))
        if found.ok:
            return found
        if found.kind in (Trouble.AUTHENTICATION, Trouble.TLS) or time.monotonic() + pause > deadline:
            raise NotReady(found)
        if check:
            check()
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _probe(what: str, url: str, timeout: float, attempt: Callable[[float], None]) -> Probe:
    """Run an attempt in a thread of its own: the system's resolver knows no timeout."""
    started = time.monotonic()
    resolved: list[bool] = []
    failures: list[_Failed | None] = []

    def run() -> None:
        try:
            if host := urlsplit(url).hostname:
                getaddrinfo(host, None)
            resolved.append(True)
            # A little less than the whole, so that its own answer comes before ours for it.
            attempt(started + timeout * 0.95)
            failures.append(None)
        except Exception as error:  # noqa: BLE001 - a probe reports, it does not raise
            failures.append(_classify(error))

    thread = threading.Thread(target=run, name="probe", daemon=True)
    thread.start()
    thread.join(timeout)
    latency = time.monotonic() - started
    late = Trouble.TIMEOUT if resolved else Trouble.DNS
    failure = failures[0] if failures else _Failed(late, _PLAIN[late])
    if failure is None:
        return Probe(True, None, f"{what} at {_place(url)} answers.", latency)
    return Probe(False, failure.kind, f"{what} at {_place(url)}: {failure}.", latency)


def _place(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "its socket"
        return f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "an address that cannot be read"


def _log_in(url: str, deadline: float) -> None:
    """Connect and authenticate; that a backend serves us is all the readiness Postgres has."""
    import psycopg
    from psycopg.conninfo import conninfo_attempts, conninfo_to_dict, make_conninfo

    attempts = conninfo_attempts(conninfo_to_dict(url))
    failures = []
    for left, attempt in zip(range(len(attempts), 0, -1), attempts, strict=True):
        try:
            # A share each: a dead IPv6 address must not eat the time of the IPv4 one behind the same name.
            now = time.monotonic()
            return _connect(make_conninfo("", **attempt), now + (deadline - now) / left)
        except (psycopg.Error, TimeoutError) as error:
            failures.append(_classify(error))
    # The address that came furthest tells most.
    raise max(failures, key=lambda failure: list(_PROGRESS).index(failure.kind))


def _connect(conninfo: str, deadline: float) -> None:
    from psycopg import pq

    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        while (status := _poll(connection)) != pq.PollingStatus.OK:
            poller = select.poll()
            reading = status == pq.PollingStatus.READING
            poller.register(connection.socket, select.POLLIN if reading else select.POLLOUT)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
    finally:
        connection.finish()


def _poll(connection: "pq.abc.PGconn") -> int:
    import psycopg
    from psycopg import pq

    status = pq.PollingStatus.FAILED if connection.status == pq.ConnStatus.BAD else connection.connect_poll()
    if status == pq.PollingStatus.FAILED:
        raise psycopg.OperationalError(connection.error_message.decode(errors="replace"))
    return status


def _ping(url: str, deadline: float) -> None:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    left = max(0.05, deadline - time.monotonic())
    client = redis.Redis.from_url(
        url,
        socket_connect_timeout=left,
        socket_timeout=left,
        retry=Retry(NoBackoff(), 0),
        single_connection_client=True,
    )
    try:
        client.ping()
    finally:
        client.close()


def _open(url: SplitResult, deadline: float) -> None:
    import amqp

    left = max(0.05, deadline - time.monotonic())
    host = f"{url.hostname}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}"
    with amqp.Connection(
        host,
        userid=unquote(url.username or "guest"),
        password=unquote(url.password or "guest"),
        virtual_host=unquote(url.path[1:]) or "/",
        ssl=url.scheme == "amqps",
        connect_timeout=left,
        read_timeout=left,
    ):
        pass


def _get(url: SplitResult, deadline: float) -> None:
    made = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = made(url.hostname or "", url.port, timeout=max(0.05, deadline - time.monotonic()))
    try:
        connection.request("GET", (url.path or "/") + (f"?{url.query}" if url.query else ""))
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= 400:
        raise _Failed(Trouble.OTHER, f"status {status}")


_PROGRESS = (Trouble.DNS, Trouble.REFUSED, Trouble.TIMEOUT, Trouble.OTHER, Trouble.TLS, Trouble.AUTHENTICATION)
# libpq and redis-py say most things only in words. First match wins; all words are lower case.
_WORDS: tuple[tuple[Trouble, tuple[str, ...]], ...] = (
    (
        Trouble.DNS,
        ("failed to resolve", "could not translate host", "name or service not known", "nodename nor"),
    ),
    (Trouble.REFUSED, ("connection refused", "no such file or directory")),
    (Trouble.TIMEOUT, ("timeout", "timed out")),
    (
        Trouble.AUTHENTICATION,
        ("password", "authentication", "pg_hba", "noauth", "wrongpass", "noperm", 'role "'),
    ),
    (Trouble.TLS, ("ssl", "certificate", "tls")),
)


# By name: the drivers' own among them need not be loaded to know them.
_NAMES: tuple[tuple[Trouble, frozenset[str]], ...] = (
    (Trouble.TLS, frozenset({"SSLError"})),
    (Trouble.DNS, frozenset({"gaierror"})),
    (Trouble.REFUSED, frozenset({"ConnectionRefusedError"})),
    (Trouble.TIMEOUT, frozenset({"TimeoutError"})),
    (Trouble.AUTHENTICATION, frozenset({"AuthenticationError", "NoPermissionError", "AccessRefused"})),
)
_OF_A_SERVER = frozenset({"OperationalError", "RedisError", "HTTPException", "OSError", "AMQPError"})
_PLAIN = {
    Trouble.DNS: "its name does not resolve",
    Trouble.REFUSED: "nothing listens there",
    Trouble.TIMEOUT: "no answer in time",
    Trouble.AUTHENTICATION: "it refuses these credentials",
}


def _classify(error: BaseException) -> _Failed:
    if isinstance(error, _Failed):
        return error
    text = " ".join(str(error).split()).rpartition("failed: ")[2].strip(" .")[:200]
    for cause in _causes(error):
        for kind, names in _NAMES:
            if names & _names(cause):
                return _Failed(kind, _PLAIN.get(kind) or text or "TLS failed")
    if not _OF_A_SERVER & _names(error):
        # A parser's complaint may quote the URL, and with it the password.
        return _Failed(Trouble.OTHER, f"the address is not usable ({type(error).__name__})")
    kind = next((kind for kind, words in _WORDS if any(word in text.lower() for word in words)), Trouble.OTHER)
    return _Failed(kind, _PLAIN.get(kind) or text or type(error).__name__)


def _names(error: BaseException) -> frozenset[str]:
    return frozenset(kind.__name__ for kind in type(error).__mro__)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while error and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return found
