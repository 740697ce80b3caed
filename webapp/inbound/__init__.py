"""Doors for providers: verify, store, acknowledge. What a request means is found out later, by a worker.

They stand beside the web app's hooks: a webhook has no user, no session and no form, and finding that out costs more
than keeping it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

from webapp import errors
from webapp.inbound import callbacks, whatsapp

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = "/webhooks"


def create_app(max_bytes: int) -> "WSGIApplication":
    """Make the WSGI app of the doors, which stands at `PREFIX`."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_bytes
    app.register_blueprint(whatsapp.blueprint)
    app.register_blueprint(callbacks.blueprint)
    errors.register(app)

    def doors(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"] == whatsapp.PATH:
            return whatsapp.receive(environ, start_response, max_bytes)
        return app.wsgi_app(environ, start_response)

    return doors
