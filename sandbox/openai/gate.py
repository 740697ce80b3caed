"""The entrance of the AI part: faults, token, log, and errors in OpenAI's shape."""

import time
from collections.abc import Callable

import orjson
from flask import Blueprint, Response, current_app, request

from sandbox.fields import Json
from sandbox.intake import Intake, as_json, cut, ordered, reply, safe_path
from sandbox.world import World

blueprint = Blueprint("openai", __name__, url_prefix="/v1")

_KINDS = {401: "authentication_error", 429: "rate_limit_error"}


class ProviderError(Exception):
    """An error answer in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else _KINDS.get(status, "invalid_request_error")
        self.body = error(message, kind, code, param)


def error(message: str, kind: str = "invalid_request_error", code: str | None = None, param: str | None = None) -> Json:
    """Return an error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def serve(kind: str, body: bytes, handle: Callable[[Intake], Response]) -> Response:
    """Answer one call: faults first, then the token, then the work, all of it logged."""
    world: World = current_app.extensions["sandbox"]
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    path = safe_path(request.path, request.query_string.decode(errors="replace"), token)
    effect = world.faults.meet(kind, path, None)
    intake = Intake(world, kind, path, request.method, body, token, time.time(), effect)
    intake.wait()
    if effect.drop == "before":
        intake.log(None, b"null", cut=True)
        return cut()
    try:
        if intake.crowded:
            raise ProviderError(503, "The engine is overloaded, please try again later.")
        if effect.refusal and not effect.refusal.get("accept"):
            return _ordered(intake, effect.refusal)
        if not token:
            raise ProviderError(401, "You didn't provide an API key.", code="invalid_api_key")
        response = handle(intake)
    except ProviderError as problem:
        answer = orjson.dumps(problem.body)
        intake.log(problem.status, answer, code=problem.body["error"]["code"])
        return reply(problem.status, answer)
    if effect.drop == "after":
        intake.log(None, b"null", cut=True)
        return cut()
    if effect.refusal:
        return _ordered(intake, effect.refusal)
    streamed = response.is_streamed
    intake.log(response.status_code, orjson.dumps("(stream)") if streamed else as_json(response.get_data()))
    return response


def _ordered(intake: Intake, action: Json) -> Response:
    status = action["status"]
    code = action.get("error_code")
    named = "rate_limit_exceeded" if status == 429 else None
    problem = ProviderError(status, "The error was ordered.", code=str(code) if code is not None else named)
    response = ordered(action, orjson.dumps(problem.body))
    intake.log(status, as_json(response.get_data()), code=problem.body["error"]["code"])
    return response
