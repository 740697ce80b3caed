"""Domain errors as HTTP, in one shape. The only place that knows both.

    {"error": {"code": …, "message": …, "hint": …, "fields": [{"field", "message", "code"}], "request_id": …}}

`code` is stable, `message` says what was wrong, `hint` and the fields say what to do.
"""

from typing import Any

import psycopg
from flask import Flask, g, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from crm_tasks.core import db
from crm_tasks.core.errors import (
    Conflict,
    DomainError,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
    Unavailable,
)
from crm_tasks.core.log import get_logger

log = get_logger(__name__)

_STATUS: dict[type[DomainError], int] = {
    Invalid: 422,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Unavailable: 503,
}


def register(app: Flask) -> None:
    """Answer every error in our shape; a person at a page gets a page."""
    app.register_error_handler(DomainError, _domain)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(SQLAlchemyError, _database)
    app.register_error_handler(psycopg.Error, _database)
    app.register_error_handler(Exception, _unexpected)


def answer(
    status: int, code: str, message: str, *, hint: str = "", fields: tuple[FieldError, ...] = ()
) -> tuple[Any, int, dict[str, str]]:
    """Return an error in our shape; to a person in the admin as a page."""
    if request.path.startswith("/admin/"):
        page = render_template("admin/problem.html", status=status, message=message, hint=hint, fields=fields)
        return page, status, {"Retry-After": "2"} if status == 503 else {}
    error: dict[str, Any] = {"code": code, "message": message}
    if hint:
        error["hint"] = hint
    if fields:
        error["fields"] = [{"field": f.field, "message": f.message, "code": f.code} for f in fields]
    if request_id := g.get("request_id"):
        error["request_id"] = request_id
    extra = {"Retry-After": "2"} if status == 503 else {}
    if status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return jsonify(error=error), status, extra


def _domain(error: DomainError) -> ResponseReturnValue:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
    return answer(status, error.code, error.message, hint=error.hint, fields=error.fields)


def _http(error: HTTPException) -> ResponseReturnValue:
    if isinstance(error, CSRFError) and request.path.startswith("/admin"):
        # The form was open too long, or the session is gone: log in again rather than read an error.
        return redirect(url_for("security.login", next=request.path))
    status = error.code or 500
    if fields := _field_errors(error):
        return answer(status, "invalid", "The request is not valid.", fields=fields)
    name = (error.name or "error").lower().replace(" ", "_")
    body, status, extra = answer(status, name, error.description or error.name)
    if isinstance(body, str):
        return body, status, extra
    # What belongs to the error, such as the methods that a path has.
    return body, status, {**dict(error.get_headers()), **extra, "Content-Type": "application/json"}


def _field_errors(error: HTTPException) -> tuple[FieldError, ...]:
    """Return what webargs found wrong, one entry per field, nested names with dots."""
    messages = (getattr(error, "data", None) or {}).get("messages")
    if not isinstance(messages, dict):
        return ()
    found: list[FieldError] = []
    for place in messages.values():
        _flatten(place, "", found)
    return tuple(found)


def _flatten(messages: Any, name: str, found: list[FieldError]) -> None:
    if isinstance(messages, dict):
        for key, inner in messages.items():
            _flatten(inner, name if key == "_schema" else f"{name}.{key}" if name else str(key), found)
    elif isinstance(messages, list):
        found.extend(FieldError(name or "body", str(message)) for message in messages)


def _database(error: Exception) -> ResponseReturnValue:
    if isinstance(error, PoolTimeout) or db.is_transient(error):
        log.warning("http.database_away", path=request.path, error=db.reason(error))
        return answer(503, "database_away", "The database is away.", hint="Send the request again in a moment.")
    return _unexpected(error)


def _unexpected(error: Exception) -> ResponseReturnValue:
    log.error("http.unexpected", path=request.path, error=type(error).__name__, exc_info=error)
    return answer(500, "internal", "Something went wrong on our side.", hint="Tell us the request_id.")
