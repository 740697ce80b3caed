"""Which files may be sent: by what they are, and by how much of it there is."""

from typing import BinaryIO

from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.media import sniff
from crm_tasks.providers.whatsapp import files as whatsapp

_WHAT = "Send a JPEG or PNG, an MP4 or 3GPP, an AAC, AMR, MP3 or OGG, a WebP, or a PDF, text or Office document."


def check(file: BinaryIO, said: str | None, size: int) -> str:
    """Return the MIME type of a file that may be sent.

    Raises:
        Invalid: its content is not what was said of it, or nothing that can be sent, or there is too much of it.
    """
    found, said = sniff.type_of(file, sniff.bare(said)), sniff.bare(said)
    if not size:
        raise wrong("The file is empty.", "empty")
    if said not in (None, sniff.UNKNOWN, found):
        raise wrong(f"The file is said to be {said}, but its content is {found}.", "other_type")
    most = whatsapp.MOST.get(found)
    if most is None:
        raise wrong(f"A file of type {found} cannot be sent. {_WHAT}", "type_not_supported")
    if found == "image/webp" and not sniff.moves(file):
        most = whatsapp.STILL_STICKER
    if size > most:
        raise wrong(f"The file has {size} bytes; at most {most} of {found} can be sent.", "too_large")
    return found


def wrong(message: str, code: str) -> Invalid:
    return Invalid(message, code=code, fields=[FieldError("file", message, code)])
