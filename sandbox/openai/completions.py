"""`POST /v1/chat/completions`: a short answer that quotes the question and says that it is simulated."""

import time
from collections.abc import Iterator
from typing import Any

import orjson
from flask import Response, request

from sandbox.fields import Json
from sandbox.ids import stable, trace_id
from sandbox.intake import Intake, as_json, reply
from sandbox.openai.gate import ProviderError, blueprint, serve

QUOTED = 300
_CLOSINGS = (
    "A real model would answer here.",
    "Point AI_BASE_URL at a real provider to hear from a model.",
    "No model was asked.",
)


@blueprint.post("/chat/completions")
def completions() -> Response:
    """Answer a chat completion."""
    data = request.get_data(cache=False)
    return serve("chat_completion", as_json(data), lambda intake: _complete(data, intake))


def _complete(data: bytes, intake: Intake) -> Response:
    body = _body(data)
    messages = body["messages"]
    text = _answer(body, messages)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    cut_short = isinstance(limit, int) and 0 < limit < _tokens(text)
    if isinstance(limit, int) and cut_short:
        text = " ".join(text.split(" ")[: max(1, limit * 3 // 4)])
    asked = sum(_tokens(_text(message.get("content"))) + 4 for message in messages)
    usage = {"prompt_tokens": asked, "completion_tokens": _tokens(text), "total_tokens": asked + _tokens(text)}
    head: Json = {
        "id": f"chatcmpl-{trace_id()}",
        "created": int(time.time()),
        "model": body["model"],
        "system_fingerprint": "fp_sandbox",
    }
    reason = "length" if cut_short else "stop"
    if body.get("stream"):
        options = body.get("stream_options") or {}
        chunks = _chunks(head, text, reason, usage if options.get("include_usage") else None)
        return Response(chunks, mimetype="text/event-stream")
    message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return reply(200, orjson.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}))


def _body(data: bytes) -> Json:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ProviderError(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise ProviderError(400, "The body must be a JSON object.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise ProviderError(400, "you must provide a model parameter", param="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ProviderError(400, "'messages' must be a list that is not empty.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ProviderError(400, f"messages[{index}] needs a role.", param=f"messages[{index}]")
    return body


def _answer(body: Json, messages: list[Json]) -> str:
    asked = next((_text(item.get("content")) for item in reversed(messages) if item["role"] == "user"), "")
    quoted = asked if len(asked) <= QUOTED else asked[: QUOTED - 1] + "…"
    text = f"(simulated answer) You wrote: “{quoted}” {_CLOSINGS[stable(asked, len(_CLOSINGS))]}"
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
        return orjson.dumps({"simulated": True, "answer": text}).decode()
    return text


def _text(content: Any) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text") or "") for part in content if isinstance(part, dict)).strip()
    return content if isinstance(content, str) else ""


def _tokens(text: str) -> int:
    return max(1, round(len(text.split()) * 4 / 3))


def _chunks(head: Json, text: str, reason: str, usage: Json | None) -> Iterator[bytes]:
    """Yield the answer word by word, as server-sent events."""
    words = text.split(" ")
    deltas = [{"role": "assistant", "content": ""}]
    deltas += ({"content": word if index == 0 else f" {word}"} for index, word in enumerate(words))
    for delta in deltas:
        yield _event(head, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])
    yield _event(head, [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}])
    if usage:
        yield _event(head | {"usage": usage}, [])
    yield b"data: [DONE]\n\n"


def _event(head: Json, choices: list[Json]) -> bytes:
    return b"data: " + orjson.dumps({**head, "object": "chat.completion.chunk", "choices": choices}) + b"\n\n"
