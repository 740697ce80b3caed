"""Files of messages, given out so that no browser runs what a customer sent."""

from flask import Response, request
from werkzeug.wsgi import wrap_file

from crm_tasks.media import sniff
from crm_tasks.media.models import Media
from crm_tasks.media.service import files
from crm_tasks.providers.whatsapp.files import MOST

# A browser shows these and runs nothing of them; all else is saved to disk.
_SHOWN = ("image/jpeg", "image/png", "image/webp", "image/gif", "application/pdf")
_SAFE = {*MOST, *_SHOWN}


def content(media: Media) -> Response:
    """Return a file, or the range of it that was asked for.

    Raises:
        Conflict: it is not here (yet). NotFound: it was removed.
    """
    file = files.opened(media)
    found = media.sniffed_type or sniff.UNKNOWN
    answer = Response(
        wrap_file(request.environ, file),
        mimetype=found if found in _SAFE else sniff.UNKNOWN,
        direct_passthrough=True,
    )
    answer.content_length = media.size or 0
    shown = found in _SHOWN or found.startswith(("audio/", "video/"))
    answer.headers.set("Content-Disposition", "inline" if shown else "attachment", filename=_name(media.filename))
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.headers["Cache-Control"] = "private, max-age=3600"
    answer.set_etag(media.sha256 or str(media.id))
    answer.make_conditional(request, accept_ranges=True, complete_length=media.size)
    return answer


def _name(filename: str | None) -> str:
    """Return a file's name as a header can have it; customers choose theirs."""
    return "".join(each if each.isprintable() else "_" for each in filename or "") or "file"
