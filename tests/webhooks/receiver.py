"""A business's own system: takes webhooks, answers what a test tells it to, keeps what it got."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say: a status, headers, a body."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"thank you"


@dataclass(frozen=True, slots=True)
class Request:
    """What came."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its `webhook-id`."""
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        """Its body."""
        return orjson.loads(self.body)

    def verify(self, secret: str) -> Any:
        """Return what it tells if the public library finds its signature good."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver(ThreadingHTTPServer):
    """Answers the n-th request with the n-th answer, and all after it with the last."""

    daemon_threads = True

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.got: list[Request] = []
        self.before: Callable[[Request], None] = lambda _request: None
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hooks"

    def next_answer(self, request: Request) -> Answer:
        """Keep a request and return the answer to it."""
        with self.lock:
            self.got.append(request)
            return self.answers[min(len(self.got), len(self.answers)) - 1]

    def types(self) -> list[str]:
        """Return the types of what came, in order."""
        return [request.told["type"] for request in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Take one."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request({name.lower(): value for name, value in self.headers.items()}, body)
        answer = self.server.next_answer(request)
        self.server.before(request)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def receiver(*answers: Answer) -> Iterator[Receiver]:
    """Run one."""
    made = Receiver(answers or (Answer(),))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
