"""What every request from the CRM goes through: the faults that are in force, and its place in the log."""

import re
import time
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response

from sandbox.faults import Effect
from sandbox.fields import Json
from sandbox.world import World

RESERVED_THREADS = 8
BODY_KEPT = 64 * 1024
_SECRET_QUERY = re.compile(r"(?<![^?&])access_token=[^&]*&?")


@dataclass(slots=True)
class Intake:
    """One request on its way in, and what the faults do to it."""

    world: World
    kind: str
    path: str
    method: str
    body: bytes
    token: str
    t: float
    effect: Effect
    to: str | None = None
    biz: str | None = None
    crowded: bool = False

    def wait(self) -> None:
        """Sleep as long as the faults say, unless too many threads sleep already."""
        if self.effect.delay:
            most = self.world.settings.threads - RESERVED_THREADS
            self.crowded = not self.world.faults.sleep(self.effect.delay, most)

    def facts(self, kind: str, status: int | None, answer: bytes, **more: Any) -> Json:
        """Return the event of this request; the caller holds the world's lock until it is committed."""
        self.t = time.time()
        event: Json = {
            "k": kind,
            "seq": self.world.log.last + 1,
            "t": self.t,
            "kind": self.kind,
            "path": self.path,
            "method": self.method,
            "to": self.to,
            "biz": self.biz,
            "body": self._safe(self.body),
            "status": status,
            "answer": answer,
        }
        if self.effect.rules:
            event["faults"] = self.effect.rules
        if more:
            event.update(more)
        return event

    def log(self, status: int | None, answer: bytes, **more: Any) -> None:
        """Write a request that changed nothing to the log."""
        with self.world.lock:
            self.world.commit(self.facts("entry", status, answer, **more))

    def _safe(self, body: bytes) -> bytes:
        """Keep the bearer token out of the log, and a huge body too."""
        if len(body) > BODY_KEPT:
            return orjson.dumps(body[:BODY_KEPT].decode(errors="replace"))
        if self.token and self.token.encode() in body:
            return body.replace(self.token.encode(), b"***")
        return body


def safe_path(path: str, query: str, token: str) -> str:
    """Return a request's path with its query, without any token in it."""
    if not query:
        return path
    query = _SECRET_QUERY.sub("", query).rstrip("&")
    if token and token in query:
        query = query.replace(token, "***")
    return f"{path}?{query}" if query else path


def as_json(data: bytes) -> bytes:
    """Return a body as one line of JSON, as text when it is none, null when there is none."""
    if not data:
        return b"null"
    try:
        return orjson.dumps(orjson.loads(data))
    except orjson.JSONDecodeError:
        return orjson.dumps(data[:BODY_KEPT].decode(errors="replace"))


def reply(status: int, answer: bytes, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(answer, status, headers, mimetype="application/json")


def ordered(action: Json, error: bytes) -> Response:
    """Return the refusal a fault asks for; `error` is the answer when the fault gives no body of its own."""
    body = action.get("body")
    headers = action.get("headers")
    if isinstance(body, str):
        return Response(body, action["status"], headers, mimetype="text/html")
    return reply(action["status"], error if body is None else orjson.dumps(body), headers)


def cut() -> Response:
    """Return an answer that never arrives: the server closes the connection instead.

    A streamed body with an illegal length makes hyper, granian's HTTP engine, refuse to write even the status line.
    """
    return Response(iter((b"",)), headers={"Content-Length": "cut"})
