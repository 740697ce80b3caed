"""WhatsApp's webhook. 200 only after the request is committed; 401 stores nothing; 503 makes Meta send it again.

The signature is over the raw bytes (Meta escapes non-ASCII, re-serialised JSON does not verify) with the app secret
of the channel, which is found by its phone number id.
"""

import threading
import time
from hmac import compare_digest
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from crm_tasks.core import crypto, db, metrics
from crm_tasks.core.errors import Unavailable
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.messages.service import ingest
from crm_tasks.providers.whatsapp import webhook
from crm_tasks.workspaces.service import Secrets, webhook_secrets

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = get_logger(__name__)
PATH = "/whatsapp"
blueprint = Blueprint("whatsapp", __name__)

# How long this process may go on with the secrets it knows. A signature that does not fit makes it look again, at
# most once a second, so a new channel or a changed secret is good within a second.
_FRESH, _AGAIN = 30.0, 1.0
_DIGITS = frozenset("0123456789abcdef")


@blueprint.get(PATH)
def handshake() -> Response:
    """Meta's verification: the challenge comes back when the token is one of our channels'."""
    token = request.args.get("hub.verify_token", "").encode("utf-8", "replace")
    known = _secrets()
    right = _is_one_of(token, known)
    if not right and (again := _secrets(newer_than=_AGAIN)) is not known:
        right = _is_one_of(token, again)
    if request.args.get("hub.mode") != "subscribe" or not right:
        return Response("forbidden", 403, content_type="text/plain")
    return Response(request.args.get("hub.challenge", ""), content_type="text/plain")


def receive(environ: "WSGIEnvironment", start_response: "StartResponse", max_bytes: int) -> list[bytes]:
    """Keep one request: the POST, as plain WSGI, since Flask's way to it costs more than keeping it."""
    try:
        status, text = _receive(environ, max_bytes)
    except Exception as error:
        # Whatever it is, the request is not kept for sure: the provider is to send it again.
        metrics.count("webhook_unavailable")
        if not isinstance(error, Unavailable) and not db.is_transient(error):
            log.exception("webhook.failed")
        elif rarely("webhook.unavailable", 10):
            log.warning("webhook.unavailable", error=db.reason(error))
        status, text = "503 Service Unavailable", b"try again"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    start_response(status, [*headers, ("Retry-After", "2")] if status.startswith("503") else headers)
    return [text]


def _receive(environ: "WSGIEnvironment", max_bytes: int) -> tuple[str, bytes]:
    body = _read(environ, max_bytes)
    if body is None:
        return "413 Content Too Large", b"too large"
    signers = _signers(body, environ.get("HTTP_X_HUB_SIGNATURE_256", ""))
    if not signers:
        metrics.count("webhook_rejected")
        if rarely("webhook.rejected"):
            log.warning("webhook.rejected", bytes=len(body))
        return "401 Unauthorized", b"bad signature"
    ingest.store("whatsapp", body, [crypto.secret_fingerprint(secret) for secret in signers])
    return "200 OK", b"ok"


def _read(environ: "WSGIEnvironment", max_bytes: int) -> bytes | None:
    """Return the body, or None if it is too long. Sent in chunks, its length is known only afterwards."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdecimal() and int(length) > max_bytes:
        return None
    body = environ["wsgi.input"].read(int(length) if length.isdecimal() else max_bytes + 1)
    return body if len(body) <= max_bytes else None


def _signers(body: bytes, header: str) -> list[str]:
    """Return the known secrets that signed these bytes; none is a forgery."""
    if len(header) != 71 or not header.startswith("sha256=") or not _DIGITS.issuperset(header[7:]):
        return []
    numbers = webhook.phone_number_ids(body)
    known = _secrets()
    found = _fitting(known, numbers, body, header)
    if not found and (again := _secrets(newer_than=_AGAIN)) is not known:
        found = _fitting(again, numbers, body, header)
    return found


def _is_one_of(token: bytes, known: Secrets) -> bool:
    matches = [compare_digest(token, each.encode()) for each in known.verify_tokens]  # all, so that time tells nothing
    return any(matches)


def _fitting(known: Secrets, numbers: set[str] | None, body: bytes, header: str) -> list[str]:
    """Try the secrets of the numbers named; a number that nobody has may be signed with any secret we know."""
    return [secret for secret in known.for_numbers(numbers or ()) if webhook.signed_with(secret, body, header)]


# --- the secrets of this process ---------------------------------------------------------------------------------

_lock = threading.Lock()
_known: tuple[float, Secrets] | None = None


def _secrets(newer_than: float = _FRESH) -> Secrets:
    if _known is None or time.monotonic() - _known[0] > newer_than:
        # What merely grows old is renewed by one thread, while the others go on with it.
        if not _lock.acquire(blocking=_known is None or newer_than < _FRESH):
            return _known[1]  # type: ignore[index]
        try:
            _renew(newer_than)
        finally:
            _lock.release()
    return _known[1]  # type: ignore[index]


def _renew(newer_than: float) -> None:
    global _known
    if _known is not None and time.monotonic() - _known[0] <= newer_than:
        return
    try:
        _known = (time.monotonic(), db.retrying(webhook_secrets))
    except Exception:
        # With Postgres away the old ones serve: storing fails then anyway, and says so with a 503.
        if _known is None:
            raise
        _known = (time.monotonic() - newer_than + _AGAIN, _known[1])
