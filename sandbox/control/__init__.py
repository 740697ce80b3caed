"""`/_sandbox`: what scripts and tests steer the stand-in with, and what they learn from it. JSON in, JSON out."""

from typing import Any

import orjson
from flask import Blueprint, Response, current_app, request

from sandbox.fields import BadInput
from sandbox.intake import reply
from sandbox.world import World

blueprint = Blueprint("control", __name__, url_prefix="/_sandbox")


def world() -> World:
    """Return the world of this process."""
    return current_app.extensions["sandbox"]


def payload() -> Any:
    """Return the JSON value that was sent.

    Raises:
        BadInput: it is none.
    """
    try:
        return orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError as error:
        raise BadInput(f"The body is not JSON: {error}.") from None


def answer(value: Any, status: int = 200) -> Response:
    """Return a JSON answer."""
    return reply(status, orjson.dumps(value))


def whole_query(key: str, default: int) -> int:
    """Return a whole number of the query.

    Raises:
        BadInput: it is none.
    """
    text = request.args.get(key) or str(default)
    if not text.isdigit() or len(text) > 9:
        raise BadInput(f"{key} must be a whole number.", key)
    return int(text)
