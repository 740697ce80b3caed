"""`/api/v1/imports`: files of contacts. Look at one, import it, watch, stop it, take it back."""

import uuid
from typing import Any

import marshmallow as ma
import orjson
import sqlalchemy as sa
from flask import Response, request
from sqlalchemy.orm import Session

from crm_tasks.core import idempotency
from crm_tasks.core.db import now, transaction
from crm_tasks.core.types import new_id
from crm_tasks.imports import intake, mapping, service
from crm_tasks.imports import preview as look
from crm_tasks.imports.models import Import
from crm_tasks.imports.schemas import ImportFormIn, ImportOut, PreviewOut, by_column, dump_import
from webapp import rejects as rejected
from webapp import uploads
from webapp.api.once import DOCUMENTED
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("imports", __name__, description="Files of contacts")

_FILE = {"file": {"type": "string", "format": "binary", "description": "CSV or XLSX"}}
_CSV = {"text/csv": {"schema": {"type": "string"}}}


class ImportPage(Envelope):
    """A page of imports."""

    data = ma.fields.List(ma.fields.Nested(ImportOut))


def _form(schema: type[ma.Schema] | None) -> dict[str, Any]:
    fields = (
        {}
        if schema is None
        else {
            name: {"type": "string", "description": field.metadata.get("description", "")}
            for name, field in schema().fields.items()
        }
    )
    shape = {"type": "object", "required": ["file"], "properties": {**_FILE, **fields}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": shape}}}}


@blueprint.route("/imports/preview", methods=["POST"])
@blueprint.alt_response(200, schema=PreviewOut)
@blueprint.doc(**_form(None))
def preview() -> dict[str, Any]:
    """See how a file would be read, with what its columns seem to be. Nothing of it is kept."""
    file, _ = uploads.contacts_file()
    taken, found = look.take(file, new_id())
    intake.folder().delete(taken.stored.key)
    return {
        "encoding": taken.encoding,
        "delimiter": found.delimiter,
        "warnings": list(taken.warnings),
        "columns": found.header,
        "mapping": by_column(found.header, mapping.guess(found.header)),
        "rows": found.sample,
    }


@blueprint.route("/imports", methods=["POST"])
@blueprint.alt_response(202, schema=ImportOut)
@blueprint.doc(parameters=DOCUMENTED, **_form(ImportFormIn))
def add() -> tuple[dict[str, Any], int]:
    """Import a file of contacts, by a job.

    Its beginning is looked at first: what can be known to be wrong is said here.
    """
    file, filename = uploads.contacts_file()
    form = Blueprint.ARGUMENTS_PARSER.parse(ImportFormIn, request, location="form")
    import_id = new_id()
    taken, found = look.take(file, import_id)
    new = service.NewImport(
        id=import_id,
        taken=taken,
        layout=found,
        filename=filename,
        actor=caller().name,
        **form,
    )
    try:
        body, made = _accept(new, orjson.dumps([taken.stored.sha256, request.form.to_dict()]))
    except BaseException:
        intake.folder().delete(taken.stored.key)
        raise
    if not made:
        intake.folder().delete(taken.stored.key)
    return body, 202


def _accept(new: service.NewImport, fingerprint: bytes) -> tuple[dict[str, Any], bool]:
    """Return the answer, and whether this request is the first with its key. (`once` would read the file again.)"""
    key, workspace_id = request.headers.get("Idempotency-Key"), caller().workspace_id
    with transaction() as session:
        earlier = None if key is None else idempotency.begin(session, workspace_id, key, fingerprint)
        if earlier is not None:
            return earlier.body, False
        body = _dump(session, [service.accept(session, workspace_id, new)])[0]
        if key is not None:
            idempotency.remember(session, workspace_id, key, 202, body)
    return body, True


@blueprint.route("/imports")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=ImportPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List imports, the newest first."""
    before, limit = decode(args["cursor"], uuid.UUID), args["limit"]
    with transaction() as session:
        rows = service.listed(session, caller().workspace_id, before=before[0] if before else None, limit=limit + 1)
        shown = dict(zip(rows, _dump(session, rows), strict=True))
    return page(rows, limit, lambda row: shown[row], lambda row: (row.id,))


@blueprint.route("/imports/<uuid:import_id>")
@blueprint.alt_response(200, schema=ImportOut)
def get(import_id: uuid.UUID) -> dict[str, Any]:
    """Look at an import: how far it is, and what it has come to."""
    with transaction() as session:
        return _dump(session, [service.get(session, caller().workspace_id, import_id)])[0]


@blueprint.route("/imports/<uuid:import_id>/rejects")
@blueprint.alt_response(200, content_type="text/csv", description="A line for each row that was refused")
def rejects(import_id: uuid.UUID) -> Response:
    """Download the rows that were refused: line, column, value, code and reason."""
    with transaction() as session:
        service.get(session, caller().workspace_id, import_id)
    return rejected.download(import_id)


@blueprint.route("/imports/<uuid:import_id>/cancel", methods=["POST"])
@blueprint.alt_response(200, schema=ImportOut)
def cancel(import_id: uuid.UUID) -> dict[str, Any]:
    """Stop an import. What it has brought stays, and can be undone."""
    with transaction() as session:
        found = service.cancel(session, caller().workspace_id, import_id, actor=caller().name)
        body = _dump(session, [found])[0]
    with transaction() as session:  # after the commit: whoever reads it has stopped
        service.forget_file(session, import_id)
    return body


@blueprint.route("/imports/<uuid:import_id>/undo", methods=["POST"])
@blueprint.alt_response(202, schema=ImportOut)
def undo(import_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Take back what an import did, by a job: those it made go, those it changed are as before."""
    with transaction() as session:
        return _dump(session, [service.undo(session, caller().workspace_id, import_id)])[0], 202


def _dump(session: Session, rows: list[Import]) -> list[dict[str, Any]]:
    totals, moment = service.totals(session, [row.id for row in rows]), session.scalar(sa.select(now()))
    shown = []
    for row in rows:
        until = row.finished_at or moment
        seconds = (until - row.started_at).total_seconds() if row.started_at and until else None
        shown.append(dump_import(row, totals[row.id], seconds))
    return shown
