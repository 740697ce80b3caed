"""`/api/v1/exports`: what is in the tables as files."""

import uuid
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now, transaction
from crm_tasks.exports import service
from crm_tasks.exports.models import Export
from crm_tasks.exports.schemas import ExportIn, ExportOut, dump_export
from webapp.api.once import DOCUMENTED, once
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("exports", __name__, description="Contacts, conversations, messages and more as CSV and XLSX")


class ExportPage(Envelope):
    """A page of exports."""

    data = ma.fields.List(ma.fields.Nested(ExportOut))


@blueprint.route("/exports", methods=["POST"])
@blueprint.doc(parameters=DOCUMENTED)
@blueprint.arguments(ExportIn)
@blueprint.alt_response(202, schema=ExportOut)
def start(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Have a file made, by a job. When it is finished there is a link to it."""
    me = caller()
    return once(lambda session: _dump(session, [service.start(session, me.workspace_id, **body, actor=me.name)])[0])


@blueprint.route("/exports")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=ExportPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List exports, the newest first."""
    before, limit = decode(args["cursor"], uuid.UUID), args["limit"]
    with transaction() as session:
        rows = service.listed(session, caller().workspace_id, before=before[0] if before else None, limit=limit + 1)
        shown = dict(zip(rows, _dump(session, rows), strict=True))
    return page(rows, limit, lambda row: shown[row], lambda row: (row.id,))


@blueprint.route("/exports/<uuid:export_id>")
@blueprint.alt_response(200, schema=ExportOut)
def get(export_id: uuid.UUID) -> dict[str, Any]:
    """Look at an export: how far it is, and a new link to its file."""
    with transaction() as session:
        return _dump(session, [service.get(session, caller().workspace_id, export_id)])[0]


@blueprint.route("/exports/<uuid:export_id>/cancel", methods=["POST"])
@blueprint.alt_response(200, schema=ExportOut)
def cancel(export_id: uuid.UUID) -> dict[str, Any]:
    """Stop an export that waits or runs."""
    me = caller()
    with transaction() as session:
        return _dump(session, [service.cancel(session, me.workspace_id, export_id, actor=me.name)])[0]


@blueprint.route("/exports/<uuid:export_id>", methods=["DELETE"])
@blueprint.alt_response(200, schema=ExportOut)
def remove(export_id: uuid.UUID) -> dict[str, Any]:
    """Delete the file, or stop an export that waits or runs. That it was made stays known."""
    me = caller()
    with transaction() as session:
        return _dump(session, [service.remove(session, me.workspace_id, export_id, actor=me.name)])[0]


def _dump(session: Session, rows: list[Export]) -> list[dict[str, Any]]:
    moment = session.scalar(sa.select(now()))
    assert moment is not None
    return [dump_export(row, moment) for row in rows]
