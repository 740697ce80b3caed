"""The web app: doors only. Each parses, makes one service call in one transaction, and answers."""

from typing import Any

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

import crm_tasks.celery
from crm_tasks.config import settings
from crm_tasks.core import log
from crm_tasks.core.jobs import registry
from webapp import admin, api, auditing, downloads, errors, headers, health, home, inbound, login, unsubscribe


def create_app() -> Flask:
    """Make the app: settings, errors, doors."""
    log.configure()
    app = Flask(__name__)
    app.config.update(_config())
    assert crm_tasks.celery.app.main
    registry.task_names()  # so that a wrong task or argument fails at the call, here
    headers.register(app)
    auditing.register(app)
    api.register(app)  # before the login, which would read a body before anybody has shown a key
    login.register(app)
    for room in (health, home, admin, unsubscribe, downloads):
        room.register(app)
    errors.register(app)  # last: what a library registered for itself gives way
    login.exempt(app, *api.BLUEPRINTS, unsubscribe.blueprint)
    doors = inbound.create_app(settings().webhook_max_bytes)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {inbound.PREFIX: doors})  # type: ignore[method-assign]
    if proxies := settings().trusted_proxies:
        # Whose address it is: anybody can send such a header, so only as many as there are proxies are believed.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    return app


def _config() -> dict[str, Any]:
    config = settings()
    return {
        "SECRET_KEY": config.secret_key,
        "MAX_CONTENT_LENGTH": config.webhook_max_bytes,
        "SESSION_COOKIE_NAME": "crm_session",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": config.public_url.startswith("https://"),
        "JSON_SORT_KEYS": False,
    }
