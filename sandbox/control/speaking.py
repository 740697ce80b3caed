"""What scripts let happen: customers speak, files arrive, and any webhook at all goes out."""

import time
from base64 import b64decode

import orjson
import requests
from flask import Response, request

from sandbox import fields
from sandbox.control import answer, blueprint, payload, world
from sandbox.fields import BadInput, Json
from sandbox.graph.management import handshake
from sandbox.media_rules import LARGEST
from sandbox.sender import new_session, plain, send
from sandbox.sender import webhook as posting
from sandbox.speech import Spoke, hook, keep, speak
from sandbox.updates import escaped, signature

MOST_AT_ONCE = 10_000
_WEBHOOK = ("phone_number_id", "payload", "raw_base64", "signature", "content_type", "url", "queue", "field", "value")


@blueprint.post("/inbound")
def inbound() -> Response:
    """Speak as a customer, or as several; `?wait=1` answers once the web app has acknowledged it."""
    given = payload()
    bound = _wait()
    many = given if isinstance(given, list) else [given]
    if len(many) > MOST_AT_ONCE:
        raise BadInput(f"At most {MOST_AT_ONCE} messages at once.")
    deadline = time.monotonic() + bound
    spoken = [speak(world(), item, wait=bool(bound)) for item in many]
    heard = [spoke.heard(deadline) for spoke in spoken] if bound else []
    if isinstance(given, list):
        return answer({"data": [_said(spoke, bound) for spoke in spoken]}, 504 if not all(heard) else 200)
    if not all(heard):
        message = f"The web app did not acknowledge the message within {bound:g} s; it will be sent again."
        return answer({"error": {"message": message}, "id": spoken[0].id}, 504)
    return answer(_said(spoken[0], bound))


@blueprint.post("/media")
def media() -> Response:
    """Store a file as a customer's, to be named by `id` in an inbound message."""
    here = world()
    file = request.files.get("file")
    if file is None:
        raise BadInput("A multipart form with a file is needed.", "file")
    number = here.numbers.named(request.form.get("phone_number_id"))
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BadInput("The file is larger than 100 MB.", "file", 413)
    mime_type = request.form.get("type") or file.mimetype or "application/octet-stream"
    saved = keep(here, number, data, mime_type, file.filename)
    return answer(saved.for_webhook() | {"size": saved.size, "filename": saved.filename}, 201)


@blueprint.post("/webhook")
def webhook() -> Response:
    """Send any body as a webhook of a number and tell what the web app answered."""
    here = world()
    given = fields.known(payload(), _WEBHOOK)
    number = here.numbers.named(fields.optional(given, "phone_number_id"))
    if "field" in given:
        value = orjson.dumps(fields.mapping(given.get("value"), "value"))
        hook(here, number, fields.text(given, "field"), value)
        return answer({"queued": True}, 202)
    how = fields.text(given, "signature", "valid")
    if how not in ("valid", "wrong", "none"):
        raise BadInput("signature must be valid, wrong or none.", "signature")
    body = _body(given)
    signed = {"valid": number.app_secret, "wrong": number.app_secret + "?"}.get(how)
    kind = fields.text(given, "content_type", "application/json")
    if not (kind.isascii() and kind.isprintable()):
        raise BadInput("content_type must be printable ASCII.", "content_type")
    started = time.monotonic()
    try:
        with new_session() as session:
            url = fields.text(given, "url", number.target)
            sent = posting(url, body, signature(signed, body) if signed else None, kind)
            got = send(session, sent, here.limits.webhook_timeout)
    except requests.RequestException as problem:
        return answer({"status": None, "error": plain(problem)}, 502)
    elapsed = round((time.monotonic() - started) * 1000, 1)
    return answer({"status": got.status_code, "body": got.text[:10_000], "elapsed_ms": elapsed, "size": len(body)})


@blueprint.post("/webhooks/retry")
def retry() -> Response:
    """Try every failed webhook again at once."""
    return answer({"retried": world().outbox.hurry()})


@blueprint.post("/verify")
def verify() -> Response:
    """Do the handshake with which Meta makes a webhook address prove itself."""
    here = world()
    given = fields.known(payload() if request.content_length else {}, ("phone_number_id", "verify_token", "url"))
    number = here.numbers.named(fields.optional(given, "phone_number_id"))
    token = fields.text(given, "verify_token", here.settings.verify_token)
    passed, status, text = handshake(fields.text(given, "url", number.target), token)
    return answer({"verified": passed, "status": status, "body": text})


def _wait() -> float:
    """Return how long to wait for the acknowledgement, 0 for not at all."""
    text = request.args.get("wait", "0")
    if not text.replace(".", "", 1).isdigit():
        raise BadInput("wait must be a number of seconds; 1 waits as long as 30.", "wait")
    return 30.0 if text == "1" else min(float(text), 60.0)


def _said(spoke: Spoke, bound: float) -> Json:
    done = {"delivered": all(waiter.is_set() for waiter in spoke.waiters)} if bound else {}
    return {"id": spoke.id} | done


def _body(given: Json) -> bytes:
    if "raw_base64" in given:
        try:
            return b64decode(fields.text(given, "raw_base64"), validate=True)
        except ValueError:
            raise BadInput("raw_base64 is not base64.", "raw_base64") from None
    if "payload" not in given:
        raise BadInput("payload or raw_base64 is needed.", "payload")
    return escaped(orjson.dumps(given["payload"]))
