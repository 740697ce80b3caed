"""What a file is: by its content, never by its name or by what was said of it."""

import unicodedata
from collections.abc import Iterator
from typing import BinaryIO

import puremagic

UNKNOWN = "application/octet-stream"
_HEAD = 4096
# What puremagic knows under another name, or by its ending alone.
_BY_ENDING = {
    ".m4a": "audio/mp4",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".ogg": "audio/ogg",
    ".amr": "audio/amr",
    ".3ga": "video/3gpp",
    ".3gp": "video/3gpp",
    ".mp4": "video/mp4",
    ".doc": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".ppt": "application/vnd.ms-powerpoint",
}
_BY_NAME = {"application/ogg": "audio/ogg", "audio/x-wav": "audio/wav", "image/jpg": "image/jpeg"}
# Containers that hold either.
_ALSO = {"video/mp4": ("audio/mp4",), "audio/mp4": ("video/mp4",), "video/3gpp": ("audio/amr",)}
# The old office formats are one container: which it is, the container does not say at its beginning.
_OLD_OFFICE = ("application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint")
_MARKUP = (b"<!doctype", b"<html", b"<script", b"<svg", b"<?xml", b"<head", b"<body")


def bare(mime_type: str | None) -> str | None:
    """Return a MIME type without its parameters, in lower case: `audio/ogg; codecs=opus` is `audio/ogg`."""
    found = (mime_type or "").partition(";")[0].strip().lower()
    return _BY_NAME.get(found, found) or None


def type_of(file: BinaryIO, said: str | None) -> str:
    """Return the MIME type of a file: what was said of it if its content allows that, else what its content is."""
    found = list(dict.fromkeys(_candidates(file)))
    if said in found:
        return said
    return found[0] if found else UNKNOWN


def moves(file: BinaryIO) -> bool:
    """Say whether a WebP picture is animated (its VP8X header has the flag)."""
    file.seek(0)
    head = file.read(21)
    return len(head) == 21 and head[12:16] == b"VP8X" and bool(head[20] & 0x02)


def _candidates(file: BinaryIO) -> Iterator[str]:
    file.seek(0)
    head = file.read(_HEAD)
    if text := _text_type(head):
        yield text
        if text != "text/plain":
            return
    for match in _matches(file):
        name = bare(match.mime_type)
        mime_type = _BY_ENDING.get(match.extension) or name
        if not mime_type or mime_type.startswith("text/"):
            continue
        yield mime_type
        yield from _ALSO.get(mime_type, ())
        if mime_type in _OLD_OFFICE:
            yield from _OLD_OFFICE


def _matches(file: BinaryIO) -> list[puremagic.PureMagicWithConfidence]:
    file.seek(0)
    try:
        return puremagic.magic_stream(file)
    except (puremagic.PureError, ValueError):
        return []


def _text_type(head: bytes) -> str | None:
    """Return what kind of text begins like this; None if it is none. A character may be cut off at the end."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) < _HEAD or error.start < len(head) - 4:
            return None
        text = head[: error.start].decode("utf-8-sig")
    if not text or any(unicodedata.category(each) == "Cc" and each not in "\t\n\r\f\x1b" for each in text):
        return None
    start = text.lstrip().lower().encode()[:200]
    if start.startswith(b"%pdf"):
        return None
    if start.startswith(_MARKUP):
        return "image/svg+xml" if b"<svg" in start else "text/html"
    return "text/plain"
