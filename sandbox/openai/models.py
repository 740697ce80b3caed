"""`GET /v1/models`, and the answer to every path that does not exist."""

import orjson
from flask import Response, request

from sandbox.intake import Intake, as_json, reply
from sandbox.openai.gate import ProviderError, blueprint, serve

MODELS = ("sandbox-chat", "sandbox-transcribe", "gpt-5-mini", "gpt-transcribe")


@blueprint.get("/models")
def models() -> Response:
    """Answer `GET /v1/models`."""
    items = [{"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "sandbox"} for name in MODELS]
    return serve("other", b"null", lambda _: reply(200, orjson.dumps({"object": "list", "data": items})))


@blueprint.route("/<path:rest>", methods=["GET", "POST", "DELETE"])
def unknown(rest: str) -> Response:
    """Answer every other path in OpenAI's shape."""

    def handle(_: Intake) -> Response:
        raise ProviderError(404, f"Invalid URL ({request.method} /v1/{rest})", code="unknown_url")

    return serve("other", as_json(request.get_data(cache=False)), handle)
