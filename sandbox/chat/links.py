"""Files the business sent as links. Only what a message names is fetched, and only when somebody looks."""

import threading
import time

import requests
from flask import Response

from sandbox.fields import BadInput, Json
from sandbox.sender import new_session

KEPT = 600.0
LARGEST = 16 * 1024 * 1024
_CACHED = 40
_TIMEOUT = 10.0
_SHOWN = ("image/", "video/", "audio/")

_lock = threading.Lock()
_cache: dict[str, tuple[float, str, bytes]] = {}


def fetched(body: Json, url: str) -> Response:
    """Return the bytes behind a link that this message really holds."""
    if not url or url not in _links(body):
        raise BadInput("The message has no such link.", "url", 404)
    kind, data = _fetch(url)
    if not kind.startswith(_SHOWN) or "svg" in kind:
        raise BadInput(f"The link leads to {kind}, which is not shown.", "url", 415)
    return Response(data, mimetype=kind, headers={"Cache-Control": "private, max-age=600"})


def _links(value: object) -> set[str]:
    """Return every link anywhere in a message."""
    if isinstance(value, list):
        return {found for item in value for found in _links(item)}
    if not isinstance(value, dict):
        return set()
    own = {value["link"]} if isinstance(value.get("link"), str) else set()
    return own | {found for item in value.values() for found in _links(item)}


def _fetch(url: str) -> tuple[str, bytes]:
    now = time.monotonic()
    with _lock:
        known = _cache.get(url)
    if known is not None and now - known[0] < KEPT:
        return known[1], known[2]
    try:
        with new_session() as session, session.get(url, timeout=_TIMEOUT, stream=True) as answer:
            answer.raise_for_status()
            data = answer.raw.read(LARGEST + 1, decode_content=True)
            kind = answer.headers.get("Content-Type", "application/octet-stream").partition(";")[0].strip().lower()
    except (requests.RequestException, OSError):
        raise BadInput("The link cannot be fetched.", "url", 502) from None
    if len(data) > LARGEST:
        raise BadInput("The file is too large to be shown.", "url", 413)
    with _lock:
        if len(_cache) >= _CACHED:
            _cache.pop(next(iter(_cache)))
        _cache[url] = (now, kind, data)
    return kind, data
