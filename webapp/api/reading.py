"""How the API reads what callers send: JSON and nothing else, and nothing that a database could not keep.

Postgres takes neither NUL nor lone surrogates nor infinite numbers, though Python's JSON has all of them: refused here,
by field, instead of failing deep inside.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

import flask_smorest
import marshmallow as ma
from flask import Request, abort
from webargs.core import missing
from webargs.flaskparser import FlaskParser, is_json_request

DEEPEST = 40
_LARGEST = 2**63
_NUL = "Leave out the character U+0000: no text can hold it."
_LONE = "This is half of a character (a lone surrogate): write the whole one."


class Parser(FlaskParser):
    """Refuses what is not JSON, and what cannot be kept."""

    def _raw_load_json(self, req: Request) -> Any:
        body = req.get_data(cache=True)
        if not body:
            return missing
        if not is_json_request(req):
            abort(415, "Send JSON, with the header `Content-Type: application/json`.")
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:  # also: bytes that are no text, a number of 5,000 digits
            self._handle_invalid_json_error(json.JSONDecodeError(str(error), "…", 0), req)

    def pre_load(self, location_data: Any, *, schema: ma.Schema, req: Request, location: str) -> Any:
        """Say of each value that cannot be kept where it is."""
        values = location_data.to_dict() if hasattr(location_data, "to_dict") else location_data
        if problems := dict(_problems(values, "", 0)):
            raise ma.ValidationError({name: [message] for name, message in problems.items()})
        return location_data


class Blueprint(flask_smorest.Blueprint):
    """A part of the API."""

    ARGUMENTS_PARSER = Parser()


def _problems(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if problem := _of_text(value):
            yield name, problem
    elif depth > DEEPEST:
        yield name, f"Nest at most {DEEPEST} deep."
    elif isinstance(value, dict):
        for key, inner in value.items():
            if problem := _of_text(key or ""):  # a part of a form may have no name
                yield name, f"In a name: {problem}"
            yield from _problems(inner, f"{name}.{key}" if name else key, depth + 1)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _problems(inner, f"{name}.{position}", depth + 1)
    elif isinstance(value, int | float) and not (math.isfinite(value) and -_LARGEST <= value < _LARGEST):
        yield name, "This number is too large."


def _of_text(text: str) -> str | None:
    if "\x00" in text:
        return _NUL
    return None if text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text) else _LONE


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
