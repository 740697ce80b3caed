"""The rows that an import has refused, to be downloaded."""

import csv
import io
import uuid
from collections.abc import Iterator

from flask import Response, stream_with_context

from crm_tasks.core.db import transaction
from crm_tasks.core.text import harmless
from crm_tasks.imports import service

_COLUMNS = ("line", "column", "value", "code", "reason")


def download(import_id: uuid.UUID) -> Response:
    """Return them as CSV; whose import it is was checked before."""
    answer = Response(stream_with_context(_lines(import_id)), mimetype="text/csv")
    answer.headers.set("Content-Disposition", "attachment", filename=f"rejects-{import_id}.csv")
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _lines(import_id: uuid.UUID) -> Iterator[str]:
    """Yield the refused lines page by page, each read in a transaction of its own."""
    yield "\ufeff" + ",".join(_COLUMNS) + "\r\n"
    after = -1
    while True:
        with transaction() as session:
            found = service.rejects(session, import_id, after=after)
        if not found:
            return
        text = io.StringIO()
        csv.writer(text).writerows([[line, *map(harmless, rest)] for line, *rest in found])
        yield text.getvalue()
        after = found[-1][0]
