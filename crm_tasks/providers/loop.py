"""Requests on one event loop per process: hundreds at once, for the threads of a worker or for one broadcast.

A request by `requests` costs a millisecond of a core, one on a loop a fifth of it. What is promised is what `http`
promises: a deadline over all of it, another try only where none can have left, no proxies of the environment.
"""

import asyncio
import atexit
import os
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import certifi

import crm_tasks
from crm_tasks.config import settings
from crm_tasks.core import metrics
from crm_tasks.core.log import get_logger
from crm_tasks.providers import tape
from crm_tasks.providers.http import MAX_BODY, Answer, NoAnswer, NotSent, host_of, longest, retry_delays

if TYPE_CHECKING:
    import aiohttp

log = get_logger(__name__)
T = TypeVar("T")

CONNECTIONS = 500
_begun: set["asyncio.Task[None]"] = set()
_may_leave: ContextVar[Callable[[], bool] | None] = ContextVar("may_leave", default=None)
_left: ContextVar["_Left"] = ContextVar("left")
# Less than the servers keep an idle connection: one that they close under a request leaves an unknown.
KEEP_ALIVE = 15.0


@dataclass(slots=True)
class _Left:
    """Whether a request may have left."""

    maybe: bool = False


class TooLate(Exception):
    """There is a connection, but the moment to use it is over: nothing left."""


@contextmanager
def only_if(may_leave: Callable[[], bool]) -> Iterator[None]:
    """Let requests of this block leave only if this is so once there is a connection; else they raise TooLate.

    Making a connection, above all the first one, takes longer than a slot of a paced channel is open.
    """
    token = _may_leave.set(may_leave)
    try:
        yield
    finally:
        _may_leave.reset(token)


@cache
def _library() -> Any:
    """Return aiohttp: 17 MB, which only processes that send need."""
    import aiohttp

    return aiohttp


def submit(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Run something on the loop of this process."""
    return asyncio.run_coroutine_threadsafe(work, _running())


def begin(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all of these on the loop of this process, which is woken once; they tell themselves what becomes of them."""
    running = _running()

    def together() -> None:
        for work in works:
            task = running.create_task(work)
            # The loop itself would let go of it.
            _begun.add(task)
            task.add_done_callback(_begun.discard)

    running.call_soon_threadsafe(together)


async def request(method: str, url: str, *, timeout: float | None = None, **options: Any) -> Answer:
    """Make one request on the loop and return the answer, whatever its status; redirects are not followed.

    Args:
        timeout: seconds for all of it: every try, the pauses between them, and the answer's last byte.

    Raises:
        NotSent: no connection, after HTTP_RETRIES further tries. NoAnswer: anything after that.
    """
    with tape.http(method, url, options) as heard:
        answer = await _tries(method, url, timeout, options)
        heard(answer)
    return answer


async def _tries(method: str, url: str, timeout: float | None, options: dict[str, Any]) -> Answer:
    end = time.monotonic() + (timeout or longest())
    for delay in (*retry_delays(), None):
        try:
            return await _once(method, url, end, options)
        except NotSent as error:
            if delay is None or time.monotonic() + delay >= end:
                raise
            metrics.count("http_retries")
            log.warning("http.retry", host=host_of(url), reason=str(error), delay=delay)
            await asyncio.sleep(delay)
    raise AssertionError("unreachable")


async def _once(method: str, url: str, end: float, options: dict[str, Any]) -> Answer:
    library, left = _library(), _Left()
    _left.set(left)
    limits = library.ClientTimeout(
        total=max(0.05, end - time.monotonic()), sock_connect=settings().http_connect_timeout
    )
    try:
        async with _session().request(method, url, timeout=limits, allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await _body(response))
    except (library.ClientError, OSError, TimeoutError, ValueError) as error:
        reason = "Timeout" if isinstance(error, TimeoutError) else type(error).__name__
        raise (NoAnswer if left.maybe else NotSent)(reason) from None


async def _body(response: "aiohttp.ClientResponse") -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > MAX_BODY:
            raise NoAnswer(f"an answer of more than {MAX_BODY} bytes")
    return bytes(body)


# --- the loop and its session ------------------------------------------------------------------------------------

_loop: asyncio.AbstractEventLoop | None = None
_http: "aiohttp.ClientSession | None" = None
_lock = threading.Lock()


def _running() -> asyncio.AbstractEventLoop:
    global _loop
    if _loop is None:
        with _lock:
            if _loop is None:
                made = asyncio.new_event_loop()
                threading.Thread(target=made.run_forever, name="requests", daemon=True).start()
                _loop = made
    return _loop


def _session() -> "aiohttp.ClientSession":
    """Return the session, made at first use, on the loop."""
    global _http
    if _http is None:
        library = _library()
        _http = library.ClientSession(
            connector=_connector()(
                limit=CONNECTIONS,
                keepalive_timeout=KEEP_ALIVE,
                ssl=ssl.create_default_context(cafile=certifi.where()),
            ),
            headers={"User-Agent": f"whatsapp-crm/{crm_tasks.__version__}"},
            cookie_jar=library.DummyCookieJar(),
        )
    return _http


@cache
def _connector() -> "type[aiohttp.TCPConnector]":
    """Return a connector that asks, once there is a connection, whether it may still be used, and notes that it is."""

    class Connector(_library().TCPConnector):  # type: ignore[misc]
        async def connect(self, *request: Any, **options: Any) -> Any:
            connection = await super().connect(*request, **options)
            may_leave = _may_leave.get()
            if may_leave is not None and not may_leave():
                connection.release()
                raise TooLate
            # From now on the request may arrive, whatever error follows. (A trace of aiohttp's says so too, and costs
            # a twentieth of a request.)
            _left.get().maybe = True
            return connection

    return Connector


def _close() -> None:
    if _loop is not None and _http is not None:
        with suppress(TimeoutError):
            submit(_http.close()).result(timeout=1)


def _after_fork() -> None:
    global _loop, _http, _lock
    _loop, _http, _lock = None, None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_close)
