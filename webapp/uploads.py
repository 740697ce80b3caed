"""Files that come with a form. Werkzeug has put them on disk; they are read from there piece by piece."""

from typing import BinaryIO

from flask import request

from crm_tasks.config import settings
from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.imports import intake

# What a form has besides its file.
ENVELOPE = 256 * 1024


def contacts_file() -> tuple[BinaryIO, str | None]:
    """Return the file of a form, and its name.

    Raises:
        Invalid: there is none, or it is too large.
    """
    request.max_content_length = settings().import_max_bytes + ENVELOPE
    given = request.files.get("file")
    if given is None or not (given.filename or given.stream.seek(0, 2)):
        remedy = "Send the file as a part of a form (multipart/form-data) that is named file."
        raise Invalid("There is no file.", fields=[FieldError("file", remedy, "required")])
    if given.stream.seek(0, 2) > settings().import_max_bytes:
        raise intake.wrong(f"The file is larger than {settings().import_max_bytes:,} bytes.", "too_large")
    return given.stream, (given.filename or "")[:240] or None  # type: ignore[return-value]
