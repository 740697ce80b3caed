"""REST API v1: JSON, `Authorization: Bearer <api key>`, OpenAPI at `/api/v1/openapi.json`, docs at `/api/v1/docs`."""

from pathlib import Path

import flask_swagger_ui
from flask import Flask, render_template, request, send_from_directory
from flask.typing import ResponseReturnValue
from flask_smorest import Api as SmorestApi

import crm_tasks
from webapp import auditing
from webapp.api import (
    bulk,
    campaigns,
    channels,
    contacts,
    conversations,
    dead_letters,
    earlier,
    email_templates,
    erasures,
    events,
    exports,
    holds,
    imports,
    jobs,
    media,
    messages,
    notifications,
    policies,
    queues,
    scheduled,
    segments,
    shapes,
    suppressions,
    templates,
    webhooks,
    workspaces,
)
from webapp.api.reading import Blueprint
from webapp.api.shapes import ErrorOut
from webapp.auth import caller, require_key

PREFIX = "/api/v1"
_SWAGGER = Path(flask_swagger_ui.__file__).parent / "dist"
BLUEPRINTS: tuple[Blueprint, ...] = tuple(
    room.blueprint
    for room in (
        messages,
        media,
        scheduled,
        conversations,
        contacts,
        segments,
        bulk,
        erasures,
        suppressions,
        campaigns,
        imports,
        exports,
        channels,
        policies,
        templates,
        jobs,
        dead_letters,
        holds,
        queues,
        events,
        earlier,
        email_templates,
        notifications,
        webhooks,
        workspaces,
    )
)
_NAMES = {blueprint.name for blueprint in BLUEPRINTS}
# 20 MB of files are 27 MB in base64; who may send so much has shown a key first.
_LARGE = {"messages.send": 30 * 1024 * 1024}


class Api(SmorestApi):
    """Documents errors in the shape that `webapp.errors` gives them."""

    ERROR_SCHEMA = ErrorOut


def register(app: Flask) -> None:
    """Add the API, its document and its pages."""
    app.config.update(
        API_TITLE="WhatsApp CRM",
        API_VERSION=crm_tasks.__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX=PREFIX,
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "info": {"description": __doc__},
            "security": [{"apiKey": []}],
            "components": {"securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}}},
        },
    )
    api = Api(app)
    shapes.describe(api)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint, url_prefix=earlier.PREFIX if blueprint is earlier.blueprint else PREFIX)
    app.before_request(_guard)
    app.add_url_rule(f"{PREFIX}/docs", "api_docs", _docs)
    app.add_url_rule("/static/swagger/<path:name>", "swagger_file", _swagger_file)


def _guard() -> None:
    if request.blueprint in _NAMES:
        require_key()
        me = caller()
        auditing.begin(me.name, f"api.{request.endpoint}", me.workspace_id)
        request.max_content_length = _LARGE.get(request.endpoint or "", request.max_content_length)


def _docs() -> str:
    return render_template("docs.html")


def _swagger_file(name: str) -> ResponseReturnValue:
    return send_from_directory(_SWAGGER, name)
