"""The short way in for what comes by the thousand: a send goes past Flask, whose way to it costs as much as half of it.

It leads to the same answers: whatever is not a plain send, and every mistake, is Flask's.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Request

from sandbox.graph import routes
from sandbox.world import World

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_SEND = re.compile(r"/(v\d{1,3}\.\d{1,2})/(\d+/messages)")


class Door:
    """The WSGI app in front of Flask's."""

    def __init__(self, app: Flask, world: World) -> None:
        self._app, self._world, self._flask = app, world, app.wsgi_app
        self._most: int | None = app.config["MAX_CONTENT_LENGTH"]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        found = _SEND.fullmatch(environ["PATH_INFO"])
        if found is None or environ["REQUEST_METHOD"] != "POST" or "HTTP_ORIGIN" in environ:
            return self._flask(environ, start_response)
        request = Request(environ)
        request.max_content_length = self._most
        try:
            response: WSGIApplication = routes.answer(self._world, request, *found.groups())
        except Exception as error:  # noqa: BLE001  Flask's handlers know what to say to any
            with self._app.request_context(environ):
                response = self._app.make_response(self._app.handle_user_exception(error))
        return response(environ, start_response)
