"""A gateway that answers as it is told, and what the tests of its two shapes share."""

import dataclasses
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from crm_tasks.core import db
from crm_tasks.workspaces import service
from tests.fixtures import Demo

SECRET, TOKEN, ACCOUNT = "of-the-callbacks", "of-the-gateway", "AC00000000000000000000000000000001"
CUT = (0, b"")
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Gateway:
    """Takes requests, keeps them, and gives the answers that it was told, the last of them again and again."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        is_json = handler.headers.get("Content-Type") == "application/json"
        body = json.loads(raw) if is_json else {name: value for name, (value,) in parse_qs(raw.decode()).items()}
        with self._lock:
            self.requests.append({"path": handler.path, "headers": dict(handler.headers), "body": body})
            number = len(self.requests)
            status, said, *more = self.answers[min(number, len(self.answers)) - 1] if self.answers else (200, None)
        if not status:
            handler.close_connection = True
            handler.connection.close()
            return
        said = {"id": f"G{number}", "sid": f"G{number}"} if said is None else said
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(more[0] if more else {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)


@contextmanager
def gateway() -> Iterator[Gateway]:
    """Run one."""
    made = Gateway()
    try:
        yield made
    finally:
        made.close()


def add_channel(demo: Demo, kind: str = "sms", url: str = "http://127.0.0.1:9", **values: Any) -> Demo:
    """Return a business with another channel of its own in the place of its number."""
    needed = {
        "sms": {"token": TOKEN, "callback_secret": SECRET},
        "twilio": {"account_sid": ACCOUNT, "auth_token": TOKEN, "from": "+15550783882"},
    }[kind]
    new = service.NewChannel(kind=kind, name=kind, values={**needed, **values}, base_url=url)
    with db.transaction() as session:
        channel = service.add_channel(session, demo.workspace_id, new)
    return dataclasses.replace(demo, channel_id=channel.id)


def signed(secret: str, body: bytes) -> dict[str, str]:
    """Return the headers of a callback of the JSON gateway."""
    return {"X-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
