"""Doors for providers: verify, store, acknowledge. What a request means is found out later, by a worker.

They are an app of their own inside the web app: a webhook has no user, no session and no form, and finding that out
through the hooks of those would cost more than keeping it.
"""

from flask import Flask

from webapp import errors
from webapp.inbound import whatsapp

PREFIX = "/webhooks"


def create_app(max_bytes: int) -> Flask:
    """Make the app of the doors, which stands at `PREFIX`."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_bytes
    app.register_blueprint(whatsapp.blueprint)
    errors.register(app)
    return app
