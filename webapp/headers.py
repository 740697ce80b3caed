"""What every answer carries: headers that keep a browser safe, the request's id; and one log line per request.

No page loads anything from another host, and no page has inline script or style: the policy says so to the browser.
"""

import time
from contextlib import ExitStack

from flask import Flask, Response, g, request

from crm_tasks.config import settings
from crm_tasks.core.jobs.enqueue import current_trace
from crm_tasks.core.log import bound, get_logger
from crm_tasks.core.types import new_id

log = get_logger(__name__)

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
# Only said over https, where browsers believe it: a year without plain http.
_HTTPS_ONLY = "max-age=31536000"
# What is behind these lets whoever has it act for a person.
_LINKS = ("/u/", "/d/", "/admin/join/")
# Asked by machines every few seconds: a line for each would hide all others. Webhooks are counted instead.
_QUIET = ("/health", "/live", "/metrics", "/static/", "/api/v1/queues/")


def register(app: Flask) -> None:
    """Begin and end every request here."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def _begin() -> None:
    if request.path.startswith(_QUIET):
        return
    request_id = new_id()
    g.request_id, g.started = str(request_id), time.perf_counter()
    g.context = ExitStack()
    g.context.enter_context(bound(request_id=g.request_id))
    token = current_trace.set(request_id)
    g.context.callback(current_trace.reset, token)


def _end(response: Response) -> Response:
    if response.mimetype == "text/html":
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if settings().public_url.startswith("https://"):
            response.headers.setdefault("Strict-Transport-Security", _HTTPS_ONLY)
    if "started" in g:
        response.headers["X-Request-Id"] = g.request_id
        ms = round((time.perf_counter() - g.started) * 1000, 1)
        log.info("http.request", method=request.method, path=_path(), status=response.status_code, ms=ms)
    return response


def _path() -> str:
    """Return the path; of a link that lets whoever has it act for a person, only which kind it is."""
    return next((f"{door}…" for door in _LINKS if request.path.startswith(door)), request.path)


def _forget(_error: BaseException | None) -> None:
    if "context" in g:
        g.pop("context").close()
