"""The Flask app of the sandbox: one world, many entrances."""

import logging
from urllib.parse import urlsplit

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from sandbox import chat, control
from sandbox.chat import api, pages
from sandbox.control import gateways, mail, reading, receivers, speaking, steering
from sandbox.door import Door
from sandbox.errors import GraphError
from sandbox.fields import BadInput
from sandbox.gateways import blueprint as gateway_routes
from sandbox.gateways import email, sms, twilio, unknown
from sandbox.graph import routes
from sandbox.hooks import blueprint as hook_routes
from sandbox.hooks import routes as hooks
from sandbox.intake import reply
from sandbox.mail.server import Server
from sandbox.media_rules import LARGEST, MB
from sandbox.openai import completions, gate, models, transcriptions
from sandbox.settings import Settings, load
from sandbox.world import World

_log = logging.getLogger("sandbox")
# Imported for their routes.
PARTS = (reading, speaking, gateways, mail, receivers, steering, completions, models, transcriptions, api, pages)
GATEWAYS = (sms, twilio, email, unknown, hooks)


def create_app(settings: Settings | None = None) -> Flask:
    """Build the app and start its webhook threads and its SMTP server; its state comes back from the journal.

    Raises:
        OSError: the SMTP port is taken.
    """
    app = Flask("sandbox", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST + 5 * MB
    app.config["MAX_FORM_MEMORY_SIZE"] = MB
    settings = settings or load()
    world = app.extensions["sandbox"] = World(settings)
    smtp = app.extensions["smtp"] = Server(world, settings.smtp_port, settings.folder)
    smtp.start()
    for blueprint in (control.blueprint, gate.blueprint, chat.blueprint, gateway_routes, hook_routes, routes.blueprint):
        app.register_blueprint(blueprint)
    app.before_request(_same_origin)
    app.register_error_handler(BadInput, _bad_input)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    app.wsgi_app = Door(app, world)  # type: ignore[method-assign]
    return app


def _same_origin() -> Response | None:
    """Keep foreign web pages, which a developer's browser may have open, from steering the sandbox."""
    origin = request.headers.get("Origin")
    if origin and request.method not in ("GET", "HEAD", "OPTIONS") and urlsplit(origin).netloc != request.host:
        return reply(403, orjson.dumps({"error": {"message": "Requests from other origins are refused."}}))
    return None


def _bad_input(error: BadInput) -> Response:
    return reply(error.status, orjson.dumps({"error": {"message": error.message, "field": error.field}}))


def _http_error(error: HTTPException) -> Response:
    """Answer what Flask itself refuses, in the shape the caller's API uses."""
    status = error.code or 500
    text = error.description or error.name
    if request.path.startswith("/v1/"):
        return reply(status, orjson.dumps(gate.error(text)))
    if request.path.startswith("/v"):
        return reply(status, orjson.dumps(GraphError(100, message=f"(#100) {text}").body()))
    return reply(status, orjson.dumps({"error": {"message": text, "field": None}}))


def _unexpected(error: Exception) -> Response:
    """Answer a mistake of the sandbox itself; the trace is in its log."""
    _log.exception("%s %s failed", request.method, request.path, exc_info=error)
    if request.path.startswith("/v1/"):
        return reply(500, orjson.dumps(gate.error("The sandbox made a mistake.", "server_error")))
    return reply(500, orjson.dumps(GraphError(131000, "The sandbox made a mistake; see its output.").body()))
