"""`/api/v1/media`: files of messages. Take one in, look at one, get its content."""

import uuid
from typing import Any

from flask import Response, request
from werkzeug.datastructures import FileStorage

from crm_tasks.core.db import transaction
from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.core.types import new_id
from crm_tasks.media.schemas import MediaFormIn, MediaLinkIn, MediaOut, dump_media
from crm_tasks.media.service import checking, files
from crm_tasks.providers.storage import storage
from crm_tasks.providers.whatsapp.files import LARGEST
from crm_tasks.workspaces import service as workspaces
from webapp import media as outward
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("media", __name__, description="Files of messages: pictures, sounds, documents")

# What a form has besides its file.
_ENVELOPE = 64 * 1024
_FORM = {
    "type": "object",
    "required": ["channel_id", "file"],
    "properties": {
        "channel_id": {"type": "string", "format": "uuid"},
        "file": {"type": "string", "format": "binary"},
        "type": {"type": "string", "description": "Its MIME type, if the part of the form does not say it"},
    },
}


@blueprint.route("/media", methods=["POST"])
@blueprint.alt_response(201, schema=MediaOut, description="The file is here")
@blueprint.alt_response(202, schema=MediaOut, description="The file will be fetched from its link")
@blueprint.doc(
    requestBody={
        "required": True,
        "content": {"multipart/form-data": {"schema": _FORM}, "application/json": {"schema": MediaLinkIn}},
    }
)
def add() -> tuple[dict[str, Any], int]:
    """Take in a file to send: itself as a form, or a link as JSON.

    It is checked by its content, and brought to the provider with the first message that names it by its id.
    """
    if request.mimetype == "multipart/form-data":
        return _add_file()
    new = Blueprint.ARGUMENTS_PARSER.parse(MediaLinkIn, request, location="json")
    with transaction() as session:
        media = files.add_link(session, caller().workspace_id, new["channel_id"], new["url"])
        return _dump(media), 202


def _add_file() -> tuple[dict[str, Any], int]:
    request.max_content_length = LARGEST + _ENVELOPE
    form = Blueprint.ARGUMENTS_PARSER.parse(MediaFormIn, request, location="form")
    given = request.files.get("file")
    if given is None:
        remedy = "Send the file as a part of the form that is named file."
        raise Invalid("There is no file.", fields=[FieldError("file", remedy, "required")])
    with transaction() as session:
        workspaces.channel(session, caller().workspace_id, form["channel_id"])
    file, media_id = given.stream, new_id()
    mime_type = checking.check(file, form["type"] or given.mimetype, _size(given))  # type: ignore[arg-type]
    stored = files.keep(file, media_id)  # type: ignore[arg-type]
    try:
        with transaction() as session:
            media = files.add(
                session,
                caller().workspace_id,
                form["channel_id"],
                stored,
                media_id=media_id,
                mime_type=mime_type,
                filename=(given.filename or "")[:240] or None,
            )
            return _dump(media), 201
    except BaseException:
        storage().delete(stored.key)
        raise


def _size(given: FileStorage) -> int:
    return given.stream.seek(0, 2)


@blueprint.route("/media/<uuid:media_id>")
@blueprint.alt_response(200, schema=MediaOut)
def get(media_id: uuid.UUID) -> dict[str, Any]:
    """Look at a file."""
    with transaction() as session:
        return _dump(files.get(session, caller().workspace_id, media_id))


@blueprint.route("/media/<uuid:media_id>/fetch", methods=["POST"])
@blueprint.alt_response(202, schema=MediaOut, description="It will be fetched again")
def fetch(media_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Fetch a file again whose fetching failed."""
    with transaction() as session:
        return _dump(files.fetch_again(session, caller().workspace_id, media_id)), 202


@blueprint.route("/media/<uuid:media_id>/content")
@blueprint.alt_response(200, content_type="application/octet-stream", description="The file, or the range asked for")
@blueprint.alt_response(206, content_type="application/octet-stream", description="The range asked for")
def content(media_id: uuid.UUID) -> Response:
    """Get the content of a file."""
    with transaction() as session:
        media = files.get(session, caller().workspace_id, media_id)
    return outward.content(media)


def _dump(media: Any) -> dict[str, Any]:
    return dump_media(media, f"/api/v1/media/{media.id}/content")
