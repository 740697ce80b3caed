"""What the two JSON gateways have in common: bearer token, idempotency key, and errors."""

from collections.abc import Callable

import orjson
from flask import Response, request

from sandbox.fields import BadInput, Json
from sandbox.gateways.accounts import url
from sandbox.gateways.gate import Refused, Taken, intake, serve, text
from sandbox.gateways.register import named
from sandbox.ids import random_id
from sandbox.intake import Intake, as_json

Reader = Callable[[Intake, Json], Taken]


def refused(status: int, message: str, code: int | str) -> Refused:
    """Return an error in the JSON gateways' shape."""
    return Refused(status, {"success": False, "error": message, "code": code}, code)


def ordered(status: int, code: int | None) -> Refused:
    """Word an error that a fault ordered."""
    return refused(status, "The error was ordered.", code if code is not None else "ordered")


def answer(kind: str, to: Callable[[Json], str | None], take: Reader) -> Response:
    """Answer a request to send: the same key is answered the same, and sent once."""
    raw = request.get_data(cache=False)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    body = _read(raw)
    here = intake(kind, as_json(raw), token.strip(), to(body) if body is not None else None)
    key = request.headers.get("Idempotency-Key") or (text(body, "idempotencyKey") if body else None)
    here.biz = key

    def checked(here: Intake) -> Taken:
        if scheme.lower() != "bearer" or token.strip() != here.world.accounts.named(kind).token:
            raise refused(401, "The bearer token is missing or wrong.", "unauthorized")
        if body is None:
            raise refused(400, "The body must be a JSON object.", "invalid_json")
        return take(here, body)

    return serve(here, ordered, checked)


def identify(here: Intake, prefix: str) -> tuple[str, str | None, bool]:
    """Return the id of a message, its key, and whether that was used before."""
    if here.biz is None:
        return random_id(prefix), None, False
    key = f"{here.kind}\n{here.biz}"
    return named(prefix, key), key, key in here.world.register


def accepted(message_id: str) -> bytes:
    """Return the answer to an accepted message."""
    return orjson.dumps({"success": True, "messageId": message_id})


def callback_url(here: Intake, body: Json) -> str | None:
    """Return where callbacks of this message go: where it says, else where the gateway was told."""
    if body.get("callbackUrl") is None:
        return here.world.accounts.named(here.kind).callback_url
    try:
        return url(body, "callbackUrl")
    except BadInput as error:
        raise refused(400, error.message, "invalid_callback_url") from None


def _read(raw: bytes) -> Json | None:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
