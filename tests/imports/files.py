"""Files of contacts as businesses have them, ways to import them, and ways to look at what came of it."""

import hashlib
import io
import uuid
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import sqlalchemy as sa
from werkzeug.test import TestResponse

from crm_tasks.config import settings
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.core import db
from crm_tasks.imports.models import Import
from tests.messages.apply import one, rows
from tests.webapp.api import Api
from tests.webhooks.hooks import work_off

PEOPLE = (
    "name,phone,email,tags\n"
    "Ana,+5511987654321,ana@example.com,vip;lead\n"
    "Ben,+14155550123,ben@example.com,\n"
    "Cleo,+4915123456789,,lead\n"
)


def upload(api: Api, data: bytes | str, name: str = "people.csv", path: str = "/imports", **form: Any) -> TestResponse:
    """Send a file as a form."""
    raw = data.encode() if isinstance(data, str) else data
    headers = form.pop("headers", {})
    return api.post(
        path, data={"file": (io.BytesIO(raw), name), **form}, content_type="multipart/form-data", headers=headers
    )


def accepted(api: Api, data: bytes | str, **form: Any) -> uuid.UUID:
    """Have a file accepted, and return the import."""
    answer = upload(api, data, **form)
    assert answer.status_code == 202, answer.get_json()
    return uuid.UUID(answer.get_json()["id"])


def imported(api: Api, data: bytes | str, **form: Any) -> dict[str, Any]:
    """Import a file, all of it in this process, and return what the API says of it."""
    import_id = accepted(api, data, **form)
    work_off()
    shown = seen(api, import_id)
    assert shown["totals"]["rows"] == sum(shown["totals"][name] for name in COUNTS)
    return shown


COUNTS = ("created", "updated", "skipped", "rejected")


def seen(api: Api, import_id: Any) -> dict[str, Any]:
    """Return what the API says of an import."""
    answer = api.get(f"/imports/{import_id}")
    assert answer.status_code == 200
    return answer.get_json()


def undone(api: Api, import_id: Any) -> dict[str, Any]:
    """Undo an import, all of it in this process."""
    answer = api.post(f"/imports/{import_id}/undo")
    assert answer.status_code == 202, answer.get_json()
    work_off()
    shown = seen(api, import_id)
    assert shown["state"] == "undone", shown
    return shown["undone"]


def the_import() -> Import:
    """Return the only import."""
    return one(Import)


def totals(shown: dict[str, Any]) -> tuple[int, ...]:
    """Return created, updated, skipped, rejected."""
    return tuple(shown["totals"][name] for name in COUNTS)


def contact(value: str) -> Contact:
    """Return the contact of a name."""
    identity = one(Identity, Identity.value == value, Identity.kind != "wa_id")
    return one(Contact, Contact.id == identity.contact_id)


def names_of(contact_id: uuid.UUID) -> list[str]:
    """Return the identities of a contact, sorted."""
    return sorted(identity.value for identity in rows(Identity, Identity.contact_id == contact_id))


def digest() -> str:
    """Return a hash over all that an import writes and an undo has to put back."""
    found = hashlib.sha256()
    with db.transaction() as session:
        for table in ("contacts", "identities", "consent_events", "suppressions"):
            for (row,) in session.execute(sa.text(f"SELECT cast(t AS text) FROM {table} t ORDER BY id")):
                found.update(row.encode())
    return found.hexdigest()


def files() -> list[Path]:
    """Return the files that are kept."""
    return [path for path in settings().import_path.rglob("*") if path.is_file()]


def xlsx(*table: list[Any], bomb: int = 0) -> bytes:
    """Return a workbook with one sheet, with so many bytes of nothing beside it."""
    lines = []
    for number, row in enumerate(table, 1):
        cells = "".join(_cell(value) for value in row)
        lines.append(f'<row r="{number}">{cells}</row>')
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, text)
        archive.writestr("xl/worksheets/sheet1.xml", _SHEET.format("".join(lines)))
        if bomb:
            archive.writestr("xl/media/image1.png", bytes(bomb))
    return made.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEET = f'<?xml version="1.0"?><worksheet xmlns="{_MAIN}"><sheetData>{{}}</sheetData></worksheet>'
_PARTS = {
    "[Content_Types].xml": f'<?xml version="1.0"?><Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
    "_rels/.rels": f'<?xml version="1.0"?><Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<?xml version="1.0"?><workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
    '<sheets><sheet name="People" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<?xml version="1.0"?><Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
