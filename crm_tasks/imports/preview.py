"""A file before it is imported: taken in, and its beginning read as it would be, so that a person sees what comes."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from crm_tasks.contacts.models import AttributeType
from crm_tasks.imports import intake
from crm_tasks.imports.intake import Taken
from crm_tasks.imports.rows import Reader, Reject, Row
from crm_tasks.imports.table import Layout, Records, Unreadable, layout

# Rows that are read, and how many of those that would be kept and of those that would not are shown.
LOOKED_AT, SHOWN = 500, 5


@dataclass(slots=True)
class Look:
    """What the first rows of a file would come to."""

    rows: int = 0
    kept: list[Row] = field(default_factory=list)
    refused: list[Reject] = field(default_factory=list)
    # How many are refused for which reason.
    codes: Counter[str] = field(default_factory=Counter)


def take(file: BinaryIO, import_id: uuid.UUID) -> tuple[Taken, Layout]:
    """Keep a file and look at its beginning, with no transaction open.

    Raises:
        Invalid: nothing that can be imported; nothing is kept then.
    """
    taken = intake.take(file, import_id)
    try:
        with intake.folder().open(taken.stored.key) as kept:
            return taken, layout(kept)
    except BaseException:
        intake.folder().delete(taken.stored.key)
        raise


def look(key: str, found: Layout, targets: Sequence[str], *, region: str, types: Mapping[str, AttributeType]) -> Look:
    """Read the first rows of a kept file as an import would.

    Raises:
        Gone: it is not kept any more.
    """
    reader, seen = Reader(found.header, targets, region=region, tags=(), types=types), Look()
    with intake.folder().open(key) as file:
        try:
            for line, record in islice(Records(file, found.delimiter, found.position, found.line), LOOKED_AT):
                _count(seen, reader.read(line, record))
        except Unreadable as error:
            seen.refused.append(Reject(0, "", "", "unreadable", str(error)))
    return seen


def _count(seen: Look, row: Row | Reject) -> None:
    seen.rows += 1
    if isinstance(row, Row):
        if len(seen.kept) < SHOWN:
            seen.kept.append(row)
        return
    seen.codes[row.code] += 1
    if len(seen.refused) < SHOWN:
        seen.refused.append(row)
