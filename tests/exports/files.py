"""Exports as an integrator makes and reads them."""

import csv
import io
import uuid
from pathlib import Path
from typing import Any

import openpyxl
from flask.testing import FlaskClient
from openpyxl.utils.escape import unescape

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.types import new_id
from tests.fixtures import Demo
from tests.webapp.api import Api
from tests.webhooks.hooks import run_one

Table = list[dict[str, Any]]


def asked(api: Api, kind: str, format: str = "csv", **filters: Any) -> uuid.UUID:
    """Have an export accepted, and return its id."""
    answer = api.post("/exports", {"kind": kind, "format": format, "filters": filters})
    assert answer.status_code == 202, answer.get_json()
    return uuid.UUID(answer.get_json()["id"])


def seen(api: Api, export_id: Any) -> dict[str, Any]:
    """Return what the API says of an export."""
    answer = api.get(f"/exports/{export_id}")
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()


def run(api: Api, export_id: Any) -> dict[str, Any]:
    """Have the job of an export run in this process, and return what the API says of the export."""
    run_one(uuid.UUID(seen(api, export_id)["job_id"]), "exports")
    return seen(api, export_id)


def made(api: Api, kind: str, format: str = "csv", **filters: Any) -> dict[str, Any]:
    """Export something, all of it in this process, and return what the API says of it."""
    shown = run(api, asked(api, kind, format, **filters))
    assert shown["state"] == "finished", shown
    return shown


def fetched(client: FlaskClient, shown: dict[str, Any]) -> bytes:
    """Return the file behind the link of an export."""
    answer = client.get(shown["link"]["url"].removeprefix(settings().outside_url))
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert len(answer.data) == shown["size"] == answer.content_length
    return answer.data


def exported(api: Api, kind: str, **filters: Any) -> Table:
    """Export something as CSV and return its rows."""
    return table(fetched(api.client, made(api, kind, **filters)))


def table(data: bytes) -> Table:
    """Read a CSV file as programs do."""
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def many(demo: Demo, count: int, *, first: int = 0) -> None:
    """Make contacts with phone numbers, all at once; they are as old as their ids say."""
    with db.transaction() as session:
        connection = db.driver(session)
        ids = [new_id() for _ in range(count)]
        with connection.cursor().copy("COPY contacts (id, workspace_id, name, attributes, tags) FROM STDIN") as copy:
            for number, contact_id in enumerate(ids, first):
                copy.write_row((contact_id, demo.workspace_id, f"Person {number}", "{}", "{}"))
        with connection.cursor().copy("COPY identities (id, workspace_id, contact_id, kind, value) FROM STDIN") as copy:
            for number, contact_id in enumerate(ids, first):
                copy.write_row((new_id(), demo.workspace_id, contact_id, "phone", f"+4915{number:09d}"))


def exported_rows(data: bytes) -> list[str]:
    """Return the ids in a CSV file."""
    return [row["id"] for row in table(data)]


def sheets(data: bytes) -> dict[str, list[tuple[Any, ...]]]:
    """Read a workbook."""
    book = openpyxl.load_workbook(io.BytesIO(data))
    return {sheet.title: [tuple(map(_read, row)) for row in sheet.iter_rows(values_only=True)] for sheet in book}


def _read(value: Any) -> Any:
    """Return what Excel would show: openpyxl leaves the escapes of control characters in texts of cells."""
    return unescape(value) if isinstance(value, str) else value


def files() -> list[Path]:
    """Return whatever is in the store."""
    return [path for path in settings().export_path.rglob("*") if path.is_file()]
