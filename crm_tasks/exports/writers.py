"""Rows as CSV and as XLSX, written as they come: neither holds more than a row in memory.

Texts in CSV are made harmless (see `core.text`). XLSX says of each cell that it is a text, so nothing is a formula
there and every text is exactly what it was; moments are dates in UTC.
"""

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import xlsxwriter

from crm_tasks.core.db import dumps
from crm_tasks.core.text import harmless
from crm_tasks.exports.models import ExportFormat

# What Excel can hold: rows of a sheet with its header, characters of a cell, digits of a number.
SHEET_ROWS = 1_048_576
CELL_CHARACTERS = 32_767
_EXACT = 10**15
_CUT = "… [cut: a cell holds 32,767 characters, CSV has all]"
_MOMENT = "yyyy-mm-dd hh:mm:ss"
_FIRST_YEAR = 1900


class Writer(Protocol):
    """What writes a file of rows."""

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write more rows."""

    def close(self) -> None:
        """Complete the file."""

    def drop(self) -> None:
        """Leave it as it is: nobody wants it any more."""


class Csv:
    """UTF-8 with a mark at its beginning, by which Excel knows it; commas, quotes where needed, CRLF (RFC 4180)."""

    def __init__(self, path: Path, columns: Sequence[str], _title: str) -> None:
        self._file = path.open("w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._file)
        self.write([columns])

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """See `Writer`."""
        self._writer.writerows([_text(value) for value in row] for row in rows)

    def close(self) -> None:
        """See `Writer`."""
        self._file.close()

    drop = close


class Xlsx:
    """A workbook whose rows go to disk at once; what is too much for a sheet goes on in the next one."""

    def __init__(self, path: Path, columns: Sequence[str], title: str) -> None:
        # Its temporary files are beside it, so that they go with it if the process is killed.
        options = {"constant_memory": True, "tmpdir": str(path.parent), "default_date_format": _MOMENT}
        self._book = xlsxwriter.Workbook(str(path), options)
        self._book.use_zip64()
        self._bold = self._book.add_format({"bold": True})
        self._columns, self._title = columns, title
        self._sheets, self._row = 0, 0
        self._add_sheet()

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """See `Writer`."""
        for row in rows:
            if self._row == SHEET_ROWS:
                self._add_sheet()
            sheet, number = self._sheet, self._row
            for column, value in enumerate(row):
                if value is not None and value != "":
                    _put(sheet, number, column, value)
            self._row += 1

    def close(self) -> None:
        """See `Writer`."""
        self._book.close()

    def drop(self) -> None:
        """See `Writer`. To close it would be to pack it, which takes longer than anything else."""

    def _add_sheet(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet(self._title if self._sheets == 1 else f"{self._title} {self._sheets}")
        self._sheet.freeze_panes(1, 0)
        self._sheet.set_column(0, len(self._columns) - 1, 20)
        for column, name in enumerate(self._columns):
            self._sheet.write_string(0, column, name, self._bold)
        self._row = 1


WRITERS: dict[ExportFormat, type[Csv] | type[Xlsx]] = {ExportFormat.CSV: Csv, ExportFormat.XLSX: Xlsx}


def _text(value: Any) -> Any:
    """Return a value as CSV has it."""
    if isinstance(value, str):
        return harmless(value)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return harmless(_words(value))


def _put(sheet: Any, row: int, column: int, value: Any) -> None:
    if isinstance(value, datetime) and value.year >= _FIRST_YEAR:
        sheet.write_datetime(row, column, value.astimezone(UTC).replace(tzinfo=None))
    elif isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float) and abs(value) < _EXACT:
        sheet.write_number(row, column, value)
    else:
        text = value if isinstance(value, str) else _words(value)
        sheet.write_string(row, column, _fitting(text))


def _fitting(text: str) -> str:
    """Return what a cell can hold of a text. Excel counts in units of UTF-16: most emoji are two."""
    if len(text) * 2 <= CELL_CHARACTERS or len(units := text.encode("utf-16-le")) <= CELL_CHARACTERS * 2:
        return text
    return units[: (CELL_CHARACTERS - len(_CUT)) * 2].decode("utf-16-le", "ignore") + _CUT


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, list):
        return ";".join(map(str, value))
    return dumps(value) if isinstance(value, dict) else str(value)
