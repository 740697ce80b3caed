"""What a provider was told and what it answered, word for word but for secrets: kept of tests that people make.

Nothing is kept of any other message: requests hold people's words.
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from crm_tasks.core.text import clean

HIDDEN = "•••"
# Characters of a body that are kept, and the shortest text that is looked for as a secret.
MOST, _SHORTEST = 16_384, 4
_HIDDEN_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
Exchange = dict[str, Any]


class Tape:
    """Exchanges, in their order."""

    def __init__(self, credentials: Mapping[str, Any]) -> None:
        self.exchanges: list[Exchange] = []
        self._secrets = sorted(set(_spellings(_texts(credentials))), key=len, reverse=True)

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange."""
        self.exchanges.append(self._masked(exchange))

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._masked(each) for name, each in value.items()}
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            value = value.replace(secret, HIDDEN)
        return clean(value)


# A coroutine that is handed to a loop takes the tape along.
_current: ContextVar[Tape | None] = ContextVar("tape", default=None)


@contextmanager
def recording(credentials: Mapping[str, Any], *, wanted: bool) -> Iterator[list[Exchange]]:
    """Keep what is said in this block, if that is wanted."""
    if not wanted:
        yield []
        return
    made = Tape(credentials)
    token = _current.set(made)
    try:
        yield made.exchanges
    finally:
        _current.reset(token)


@contextmanager
def http(method: str, url: str, options: Mapping[str, Any]) -> Iterator[Callable[[Any], None]]:
    """Keep a request, and the answer that is given to what this yields; or the error that came instead."""
    answers: list[Any] = []
    tape = _current.get()
    if tape is None:
        yield answers.append
        return
    begun, exchange = time.monotonic(), _exchange(f"{method} {url}", options.get("headers") or {}, options.get("data"))
    if options.get("auth"):
        exchange["request"]["headers"]["Authorization"] = HIDDEN
    try:
        yield answers.append
    except Exception as error:
        exchange["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        exchange["ms"] = round((time.monotonic() - begun) * 1000)
        if answers:
            said = answers[0]
            exchange["answer"] = _part(f"HTTP {said.status}", said.headers, said.body)
        tape.add(exchange)


@contextmanager
def dialogue(server: str, mail: bytes) -> Iterator[Callable[[str, str], None]]:
    """Keep a mail and the replies of the server that takes it, step by step."""
    replies: list[str] = []
    tape = _current.get()
    if tape is None:
        yield lambda _step, _reply: None
        return
    begun, exchange = time.monotonic(), _exchange(f"SMTP {server}", {}, mail)
    try:
        yield lambda step, reply: replies.append(f"{step}: {reply}")
    finally:
        exchange["ms"] = round((time.monotonic() - begun) * 1000)
        exchange["answer"] = _part("", {}, "\n".join(replies))
        tape.add(exchange)


def _exchange(line: str, headers: Mapping[str, str], body: Any) -> Exchange:
    return {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "request": _part(line, headers, body)}


def _part(line: str, headers: Mapping[str, str], body: Any) -> dict[str, Any]:
    shown = {str(name): HIDDEN if name.lower() in _HIDDEN_HEADERS else str(value) for name, value in headers.items()}
    return {"line": line, "headers": shown, "body": _cut(body)}


def _cut(body: Any) -> str:
    if isinstance(body, Mapping):
        body = "&".join(f"{quote(str(name))}={quote(str(value))}" for name, value in body.items())
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    return text if len(text) <= MOST else f"{text[:MOST]}… [cut: {len(text):,} characters]"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= _SHORTEST:
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _spellings(secrets: Iterator[str]) -> Iterator[str]:
    for secret in secrets:
        yield from (secret, quote(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode())
