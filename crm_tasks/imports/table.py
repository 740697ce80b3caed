"""A kept file as a table: its delimiter and header, and its records from any byte on, with their line numbers."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from crm_tasks.imports.intake import wrong

DELIMITERS = ",;\t|"
MOST_COLUMNS = 500
SAMPLE = 10
# Records by which the delimiter is found, in as many bytes at most.
_LOOKED_AT, _HEAD = 50, 1_048_576
# A line of this length is none, and a quote that is open for longer was never closed.
LONGEST_LINE = 1_048_576


class Unreadable(Exception):
    """From here on the file cannot be read."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is to be read: where its first record begins, and some of its records."""

    delimiter: str
    header: list[str]
    position: int
    line: int
    sample: list[list[str]]


@dataclass(frozen=True, slots=True)
class Damaged:
    """What stands in the place of a record that cannot be read."""

    reason: str


def layout(file: BinaryIO) -> Layout:
    """Look at the beginning of a file.

    Raises:
        Invalid: no header, or one that cannot be used.
    """
    start, line, told = _directive(file)
    delimiter = told or _delimiter(file, start)
    records = Records(file, delimiter, start, line)
    try:
        found = next(iter(records), None)
        if found is None:
            raise wrong("The file has no header: its first line must name the columns.", "no_header")
        header = _header(found[1])
        position, line = records.position, records.line
        sample = [record for _, (_, record) in zip(range(SAMPLE), records, strict=False) if isinstance(record, list)]
    except Unreadable as error:
        raise wrong(str(error), "not_a_table") from None
    return Layout(delimiter, header, position, line, sample)


class Records:
    """The records of a file from a byte on. After each, `position` and `line` are where the next one begins."""

    def __init__(self, file: BinaryIO, delimiter: str, position: int, line: int) -> None:
        file.seek(position)
        self.position, self.line = position, line
        self._file, self._delimiter = file, delimiter

    def __iter__(self) -> Iterator[tuple[int, list[str] | Damaged]]:
        """Yield each record that is not blank, with the line on which it begins.

        Raises:
            Unreadable: a line that has no end.
        """
        reader = csv.reader(self._lines(), delimiter=self._delimiter)
        while True:
            line = self.line + 1
            try:
                record: list[str] | Damaged = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                record = Damaged(f"Lines {line} to {self.line}: {error}. Maybe a quote was never closed.")
            if record and (isinstance(record, Damaged) or any(record)):
                yield line, record

    def _lines(self) -> Iterator[str]:
        readline = self._file.readline
        while raw := readline(LONGEST_LINE):
            self.position += len(raw)
            self.line += 1
            if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
                raise Unreadable(f"Line {self.line} is longer than {LONGEST_LINE:,} bytes: this is not a CSV file.")
            yield raw.decode()


def _directive(file: BinaryIO) -> tuple[int, int, str | None]:
    """Return where the text begins after a first line such as `sep=;`, which Excel understands."""
    file.seek(0)
    first = file.readline(16)
    if first.lower().startswith(b"sep=") and first.endswith(b"\n") and len(first.rstrip(b"\n")) == 5:
        return len(first), 1, chr(first[4])
    return 0, 0, None


def _delimiter(file: BinaryIO, start: int) -> str:
    """Return what parts the first records into the most equal columns; a comma if nothing does."""
    file.seek(start)
    lines = file.read(_HEAD).decode(errors="ignore").split("\n")[: _LOOKED_AT * 4]

    def score(delimiter: str) -> tuple[float, int]:
        try:
            widths = [len(record) for record in csv.reader(lines, delimiter=delimiter) if record][:_LOOKED_AT]
        except csv.Error:
            return 0.0, 0
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    best = max(DELIMITERS, key=score)
    return best if score(best)[1] else ","


def _header(record: Sequence[str] | Damaged) -> list[str]:
    if isinstance(record, Damaged):
        raise wrong(f"The header cannot be read. {record.reason}", "no_header")
    names = [name.strip().lstrip("\ufeff") for name in record]
    while names and not names[-1]:
        names.pop()
    if len(names) > MOST_COLUMNS:
        raise wrong(f"The file has {len(names):,} columns, at most {MOST_COLUMNS} can be read.", "too_many_columns")
    if any(len(name) > 200 or not name.isprintable() for name in names):
        raise wrong("The header has names that are too long or not text: this is not a CSV file.", "no_header")
    if any("@" in name or (len(name) > 6 and name.strip("+ ()-.").isdigit()) for name in names):
        raise wrong("The first line is a contact. Put a line above it that names the columns.", "no_header")
    names = [name or f"column {number}" for number, name in enumerate(names, 1)]
    folded = [name.casefold() for name in names]
    if twice := sorted({name for name, key in zip(names, folded, strict=True) if folded.count(key) > 1}):
        raise wrong(f"Several columns have the same name: {', '.join(twice)[:300]}. Rename them.", "same_columns")
    return names
