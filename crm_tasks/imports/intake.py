"""A file as it comes becomes one that can be read from any line on: UTF-8, lines that end in a newline.

It is read piece by piece and never whole. What nothing can be made of is refused here, where somebody still waits.
"""

import codecs
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from crm_tasks.config import settings
from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.imports import sheet
from crm_tasks.providers.storage import Folder, Stored, TooLarge

_PIECE = 262_144
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_NOT_UTF8 = "The file is not UTF-8; it was read as Windows-1252. Check that accented letters are right."
_XLSX = b"PK\x03\x04"
# The old binary Excel, PDF, gzip and the like: named, because people do send them.
_OTHERS = {b"\xd0\xcf\x11\xe0": "an old Excel file (.xls)", b"%PDF": "a PDF", b"\x1f\x8b": "a compressed file"}


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that is kept: where, how it was written, and what to tell whoever sent it."""

    stored: Stored
    encoding: str
    warnings: tuple[str, ...]


def folder() -> Folder:
    """Return the store of files that wait to be imported."""
    return Folder(settings().import_path)


def take(file: BinaryIO, import_id: uuid.UUID) -> Taken:
    """Keep a file, made readable, with no transaction open.

    Raises:
        Invalid: too large, empty, or nothing that can be imported.
    """
    limit = settings().import_max_bytes
    file.seek(0)
    begins = file.read(4)
    if not begins:
        raise wrong("The file is empty.", "empty_file")
    if other := next((name for magic, name in _OTHERS.items() if begins.startswith(magic)), None):
        raise wrong(f"This is {other}. Save it as CSV or as XLSX.", "not_a_table")
    if begins == _XLSX:
        pieces, encoding = sheet.as_csv(file, limit), "xlsx"
    else:
        encoding, skip = _encoding(file)
        pieces = _newlines(_text(file, encoding, skip))
    warnings = (_NOT_UTF8,) if encoding == "cp1252" else ()
    try:
        # Transcoded, it may be up to three times as large.
        return Taken(folder().save(pieces, name=import_id, limit=limit * 3), encoding, warnings)
    except TooLarge:
        raise wrong(f"The file is larger than {limit:,} bytes.", "too_large") from None


def wrong(message: str, code: str) -> Invalid:
    """Return the error of a file that cannot be imported."""
    return Invalid(message, code=code, fields=[FieldError("file", message, code)])


def _encoding(file: BinaryIO) -> tuple[str, int]:
    """Return how a file is written, and how many bytes come before its text."""
    file.seek(0)
    begins = file.read(3)
    for bom, name in _BOMS:
        if begins.startswith(bom):
            return name, len(bom)
    return ("utf-8" if _decodes(file, "utf-8") else "cp1252"), 0


def _decodes(file: BinaryIO, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for piece in _pieces(file, 0):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _text(file: BinaryIO, encoding: str, skip: int) -> Iterator[str]:
    # Five bytes mean nothing in Windows-1252; what has them is damaged anyway, and the rest of it can be read.
    decoder = codecs.getincrementaldecoder(encoding)("replace" if encoding == "cp1252" else "strict")
    try:
        for piece in _pieces(file, skip):
            yield _checked(decoder.decode(piece))
        yield _checked(decoder.decode(b"", final=True))
    except UnicodeDecodeError:
        raise wrong(f"The file says that it is {encoding}, and is not.", "bad_encoding") from None


def _checked(text: str) -> str:
    if "\x00" in text:
        raise wrong("The file has NUL characters: it is not a text. Save it as CSV (UTF-8) or XLSX.", "not_a_text")
    return text


def _newlines(pieces: Iterator[str]) -> Iterator[bytes]:
    """Write every line end as a newline, also those of old Macs and those that are cut in two between pieces."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(held)]
        yield text.replace("\r\n", "\n").replace("\r", "\n").encode()
    yield b"\n" if held else b""


def _pieces(file: BinaryIO, start: int) -> Iterator[bytes]:
    file.seek(start)
    read: Callable[[], bytes] = lambda: file.read(_PIECE)  # noqa: E731
    return iter(read, b"")
