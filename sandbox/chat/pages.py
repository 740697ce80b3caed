"""The pages. Everything they load comes from here, and the browser is told to accept nothing else."""

from flask import Response, make_response, render_template

from sandbox import __version__
from sandbox.chat import blueprint
from sandbox.control import world

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


@blueprint.get("/")
def chat() -> Response:
    """Show the customers' phone."""
    return _page("chat.html")


@blueprint.get("/log")
def log() -> Response:
    """Show what was received, and the faults in force."""
    return _page("log.html")


@blueprint.get("/mail")
def mail() -> Response:
    """Show the mailbox of everybody the CRM writes to."""
    return _page("mail.html")


@blueprint.get("/hooks")
def hooks() -> Response:
    """Show what came to the webhook receivers."""
    return _page("hooks.html")


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    """Show the icon where a browser asks for it unbidden."""
    return blueprint.send_static_file("icon.svg")


@blueprint.after_request
def harden(response: Response) -> Response:
    """Send the security headers with every page and file."""
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _page(name: str) -> Response:
    response = make_response(render_template(name, crm_url=world().settings.crm_url, version=__version__))
    response.headers["Cache-Control"] = "no-store"
    return response
