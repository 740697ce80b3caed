"""`/u/<token>`: leaving a mailing list. Looking at the page changes nothing, as scanners open every link of a mail.

Mail programs POST `List-Unsubscribe=One-Click` (RFC 8058) without cookies; people press the button. Both are answered
200 at once and may come any number of times.
"""

from flask import Blueprint, Flask, Response, make_response, render_template, request

from crm_tasks.core.db import transaction
from crm_tasks.core.errors import NotFound
from crm_tasks.email.service import leave
from crm_tasks.providers.mail.unsubscribe import ONE_CLICK, PATH

blueprint = Blueprint("unsubscribe", __name__, url_prefix=PATH.rstrip("/"))
_MAX_BYTES = 16 * 1024


def register(app: Flask) -> None:
    """Add the door."""
    app.register_blueprint(blueprint)


@blueprint.before_request
def _small() -> None:
    request.max_content_length = _MAX_BYTES


@blueprint.get("/<token>")
def look(token: str) -> Response:
    """Show whom the link is for, and a button."""
    try:
        with transaction() as session:
            leaving, name = leave.who(session, token)
    except NotFound:
        return _page(404)
    return _page(200, address=leaving.address, business=name, token=token)


@blueprint.post("/<token>")
def go(token: str) -> Response:
    """Take the person off the list."""
    name, value = ONE_CLICK
    one_click = request.form.get(name) == value
    if not one_click and request.form.get("confirm") != "yes":
        return _page(400)
    evidence = {"ip": request.remote_addr, "user_agent": request.headers.get("User-Agent", "")[:200]}
    try:
        with transaction() as session:
            how = "one_click" if one_click else "page"
            leaving, business = leave.unsubscribed(session, token, how=how, evidence=evidence)
    except NotFound:
        return _page(404)
    return _page(200, address=leaving.address, business=business, done=True)


def _page(status: int, **values: object) -> Response:
    response = make_response(render_template("unsubscribe.html", **values), status)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex"
    return response
