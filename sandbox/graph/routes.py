"""The entrance of the Graph API: version, kind, faults, token, the answer, and its place in the log."""

import re
import time

import orjson
from flask import Blueprint, Request, Response, current_app, request

from sandbox.errors import GraphError, coded, unknown_path
from sandbox.fields import Json
from sandbox.graph import downloads
from sandbox.graph.call import Call, bearer
from sandbox.graph.dispatch import handler, kind_of
from sandbox.graph.recipients import plain
from sandbox.intake import Intake, as_json, cut, ordered, reply, safe_path
from sandbox.world import World

OLDEST = 20
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]
_VERSION = re.compile(r"v(\d{1,3})\.\d{1,2}")

blueprint = Blueprint("graph", __name__)


@blueprint.route("/<version>", methods=METHODS)
@blueprint.route("/<version>/", methods=METHODS)
@blueprint.route("/<version>/<path:rest>", methods=METHODS)
def graph(version: str, rest: str = "") -> Response:
    """Answer any call, also one on a path that does not exist."""
    return answer(current_app.extensions["sandbox"], request, version, rest)


def answer(world: World, incoming: Request, version: str, rest: str) -> Response:
    """Answer a call, of which `rest` is the path behind the version."""
    call = _read(world, incoming, rest)
    effect = call.intake.effect
    call.intake.wait()
    if effect.drop == "before":
        call.intake.log(None, b"null", cut=True)
        return cut()
    if call.intake.crowded:
        return _refuse(call, coded(2))
    if effect.refusal and not effect.refusal.get("accept"):
        return _ordered(call, effect.refusal)
    try:
        _check_version(version)
        found = handler(call)(call)
    except GraphError as error:
        return _refuse(call, error)
    if isinstance(found, Response):
        return found
    return _answer(call, orjson.dumps(found))


@blueprint.get("/whatsapp_business/attachments/")
def attachment() -> Response:
    """Answer the download of a medium."""
    call = _read(current_app.extensions["sandbox"], request, "attachments", "media")
    call.intake.wait()
    effect = call.intake.effect
    if effect.drop:
        call.intake.log(None, b"null", cut=True)
        return cut()
    if effect.refusal:
        return _ordered(call, effect.refusal)
    return downloads.answer(call)


def _read(world: World, incoming: Request, rest: str, kind: str | None = None) -> Call:
    """Take in a request: what it is, whom it is for, and which faults meet it."""
    token = bearer(incoming)
    multipart = incoming.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded")
    raw = b"" if multipart else incoming.get_data(cache=False)
    path = safe_path(incoming.path, incoming.query_string.decode(errors="replace"), token)
    call = Call(world, incoming, tuple(rest.strip("/").split("/")), incoming.method, token, raw)
    body = call.peek()
    kind = kind or kind_of(call, body)
    to = plain(body.get("to") or body.get("recipient"))
    call.intake = Intake(
        world=world,
        kind=kind,
        path=path,
        method=incoming.method,
        body=orjson.dumps(body) if body else as_json(raw),
        token=token,
        t=time.time(),
        effect=world.faults.meet(kind, path, to),
        to=to,
        biz=_text(body.get("biz_opaque_callback_data")),
    )
    return call


def _check_version(version: str) -> None:
    found = _VERSION.fullmatch(version)
    if not found:
        raise unknown_path(version)
    if int(found.group(1)) < OLDEST:
        raise GraphError(
            2635,
            message=f"(#2635) You are calling a deprecated version of the API. Please update to v{OLDEST}.0 or later.",
        )


def _answer(call: Call, answer: bytes) -> Response:
    """Log an answer that changed nothing but what its handler changed, and give it."""
    effect = call.intake.effect
    if effect.drop == "after":
        call.intake.log(None, answer, cut=True)
        return cut()
    if effect.refusal:
        return _ordered(call, effect.refusal)
    call.intake.log(200, answer)
    return reply(200, answer)


def _refuse(call: Call, error: GraphError) -> Response:
    answer = orjson.dumps(error.body())
    call.intake.log(error.status, answer, code=error.code, limit=error.limit)
    return reply(error.status, answer)


def _ordered(call: Call, action: Json) -> Response:
    """Give the error a fault asks for."""
    code = action.get("error_code", 131000)
    response = ordered(action, orjson.dumps(coded(code).body()))
    call.intake.log(action["status"], as_json(response.get_data()), code=code)
    return response


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
