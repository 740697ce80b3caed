"""`/d/<token>`: an exported file, for whoever has the link, until it expires."""

from flask import Blueprint, Flask, Response, make_response, render_template, request
from werkzeug.wsgi import wrap_file

from crm_tasks.core.db import transaction
from crm_tasks.core.errors import NotFound
from crm_tasks.exports import links, service
from crm_tasks.exports.models import Export, ExportFormat

blueprint = Blueprint("downloads", __name__, url_prefix=links.PATH.rstrip("/"))
_TYPES = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def register(app: Flask) -> None:
    """Add the door."""
    app.register_blueprint(blueprint)


@blueprint.get("/<token>")
def fetch(token: str) -> Response:
    """Give the file, as it comes from the store."""
    wanted = links.read(token)
    if wanted is None:
        return make_response(render_template("download.html", gone=False), 404)
    try:
        with transaction() as session:
            found = service.opened(session, wanted)
    except NotFound:
        return make_response(render_template("download.html", gone=False), 404)
    if found is None:
        return make_response(render_template("download.html", gone=True), 410)
    export, file = found
    answer = Response(wrap_file(request.environ, file), content_type=_TYPES[export.format], direct_passthrough=True)
    answer.content_length = export.size or 0
    answer.headers.set("Content-Disposition", "attachment", filename=_name(export))
    return answer


@blueprint.after_request
def _keep_nothing(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _name(export: Export) -> str:
    return f"{export.kind}-{export.created_at:%Y-%m-%d-%H%M}.{export.format}"
