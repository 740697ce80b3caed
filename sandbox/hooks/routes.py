"""`/hooks/<name>`: any request is kept, with a verdict on its Standard Webhooks signature, and answered as told."""

import time
from base64 import b64encode
from typing import Any

from flask import Response, current_app, request
from standardwebhooks import Webhook, WebhookVerificationError

from sandbox.fields import BadInput, Json
from sandbox.hooks import blueprint
from sandbox.hooks.store import Answer, encoded
from sandbox.intake import BODY_KEPT, RESERVED_THREADS, Intake, as_json, cut, ordered, safe_path
from sandbox.world import World

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
LONGEST_NAME = 64
_HANG = 600.0
_HEADERS_KEPT = 16 * 1024


@blueprint.route("/hooks/<name>", methods=METHODS, provide_automatic_options=False)
@blueprint.route("/hooks/<name>/<path:rest>", methods=METHODS, provide_automatic_options=False)
def hook(name: str, rest: str = "") -> Response:
    """Keep a request, then answer."""
    world: World = current_app.extensions["sandbox"]
    body = request.get_data(cache=False)
    if len(name) > LONGEST_NAME:
        raise BadInput(f"The name must have at most {LONGEST_NAME} characters.", "name", 404)
    path = safe_path(request.path, request.query_string.decode(errors="replace"), "")
    effect = world.faults.meet("hook", path, None)
    here = Intake(world, "hook", path, request.method, as_json(body), "", time.time(), effect)
    here.biz = request.headers.get("webhook-id")
    with world.lock:
        answer, status = world.hooks.answer(name)
        final: int | None = effect.refusal["status"] if effect.refusal else status
        if effect.drop or answer.hang:
            final = None
        more: Json = {"cut": True} if final is None else {}
        more |= {"name": name, "headers": _headers(), "verified": _verdict(answer, body), **_kept(body)}
        world.commit(here.facts("hooked", final, b"null", **more))
    _wait(here, effect.delay + (_HANG if answer.hang else answer.delay))
    if final is None:
        return cut()
    if effect.refusal:
        return ordered(effect.refusal, encoded(answer.body))
    kind = "text/plain" if isinstance(answer.body, str) else "application/json"
    return Response(encoded(answer.body), final, answer.headers, mimetype=kind)


def _wait(here: Intake, seconds: float) -> None:
    """Wait, unless too many threads wait already; new faults or answers end it."""
    if seconds:
        here.world.faults.sleep(seconds, here.world.settings.threads - RESERVED_THREADS)


def _headers() -> list[list[str]]:
    kept: list[list[str]] = []
    room = _HEADERS_KEPT
    for name, value in request.headers.items():
        room -= len(name) + len(value)
        if room > 0:
            kept.append([name, value])
    return kept


def _kept(body: bytes) -> Json:
    """Return what is kept of a body: its text, or base64 of what is none."""
    try:
        return {"text": body[:BODY_KEPT].decode(), "base64": False}
    except UnicodeDecodeError:
        return {"text": b64encode(body[:BODY_KEPT]).decode(), "base64": True}


def _verdict(answer: Answer, body: bytes) -> str | None:
    """Say whether the signature is good: `ok`, or what is wrong with it."""
    if answer.secret is None:
        return None
    headers: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
    try:
        Webhook(answer.secret).verify(body, headers)
    except WebhookVerificationError as error:
        return str(error)
    except ValueError:
        return "The secret or the body cannot be read."
    return "ok"
