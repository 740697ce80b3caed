"""The download of a medium. Whatever is wrong, a link past its time or a wrong token, the answer is a plain 404."""

import hmac
import time

import orjson
from flask import Response, send_file

from sandbox.graph.call import Call
from sandbox.intake import reply
from sandbox.media import Media, signed

_GONE = orjson.dumps({"error": "Not found"})


def answer(call: Call) -> Response:
    """Answer a link that `GET /{media_id}` gave."""
    medium = _allowed(call)
    if medium is None or not call.world.media.path(medium).is_file():
        call.intake.log(404, _GONE)
        return reply(404, _GONE)
    call.intake.log(200, orjson.dumps({"id": medium.id, "size": medium.size, "mime_type": medium.mime_type}))
    response = send_file(call.world.media.path(medium), mimetype=medium.mime_type, conditional=False, etag=False)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _allowed(call: Call) -> Media | None:
    """Return the medium of the link if both the link and the token are good."""
    medium = call.world.media.get(call.query("mid") or "")
    until = call.query("ext") or ""
    if medium is None or not until.isdigit() or int(until) < time.time():
        return None
    for number in call.world.numbers.of_token(call.token):
        expected = signed(medium, number, int(until))
        if number.waba_id == medium.waba_id and hmac.compare_digest(expected, call.query("hash") or ""):
            return medium
    return None
