"""The first sheet of an Excel file as CSV, a line for each of its rows, so that line numbers are those of Excel."""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO

from python_calamine import CalamineError, CalamineWorkbook

from crm_tasks.core.errors import FieldError, Invalid

_PIECE = 1_048_576
_ROWS_AT_ONCE = 1_000
# What a damaged, protected or foreign file makes the two readers raise.
_UNREADABLE = (
    *(CalamineError, zipfile.BadZipFile, zlib.error),
    *(OSError, EOFError, NotImplementedError, RuntimeError, ValueError),
)


def as_csv(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Return the rows as pieces of a UTF-8 file with commas.

    Args:
        limit: how many bytes the file may be when unpacked: a small one can hold very much.

    Raises:
        Invalid: it cannot be read, or is too large.
    """
    with _readable():
        _check_unpacked(file, limit)
        file.seek(0)
        found = CalamineWorkbook.from_filelike(file)
        if not found.sheet_names:
            raise _wrong("The file has no sheet.", "empty_file")
        sheet = found.get_sheet_by_index(0)
        above, left = sheet.start or (0, 0)
        rows = sheet.iter_rows()
    return _written(rows, above, left)


def _written(rows: Iterator[list[Any]], above: int, left: int) -> Iterator[bytes]:
    yield b"\n" * above
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows, 1):
        writer.writerow([""] * left + [_cell(value) for value in row])
        if number % _ROWS_AT_ONCE == 0:
            yield text.getvalue().encode("utf-8", "replace")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> str:
    """Return a cell as text on one line. A number keeps all of its digits, however the cell shows it."""
    if isinstance(value, str):
        return " ".join(value.split("\n")).replace("\r", " ").replace("\x00", "\ufffd")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value) if not isinstance(value, timedelta) else str(value.total_seconds())


def _check_unpacked(file: BinaryIO, limit: int) -> None:
    """Unpack everything once without keeping it: what a file says of its own size need not be true."""
    left = limit
    with zipfile.ZipFile(file) as archive:
        for each in archive.infolist():
            with archive.open(each) as packed:
                while piece := packed.read(min(_PIECE, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        raise _wrong(f"Unpacked, the file is larger than {limit:,} bytes. Save it as CSV.", "too_large")


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        message = "This Excel file cannot be read: it is damaged, protected by a password, or not a workbook."
        raise _wrong(message, "bad_workbook") from error


def _wrong(message: str, code: str) -> Invalid:
    return Invalid(message, code=code, fields=[FieldError("file", message, code)])
