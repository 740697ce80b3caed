"""`/api/v1/erasures`: people who were erased, and the certificate of each."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.imports import erasing
from crm_tasks.imports.bulk_models import Erasure
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("erasures", __name__, description="Erasure of people, and its certificates")


class StoreOut(ma.Schema):
    """One store: how many of its rows were touched, and what was done to them."""

    store = ma.fields.String()
    rows = ma.fields.Integer(allow_none=True, metadata={"description": "Not known before it was looked through"})
    what = ma.fields.String()


class ErasureOut(ma.Schema):
    """An erasure; when it is `finished`, its certificate: every store that was looked through."""

    id = ma.fields.UUID()
    contact_id = ma.fields.UUID()
    state = ma.fields.String()
    actor = ma.fields.String()
    job_id = ma.fields.UUID(allow_none=True)
    stores = ma.fields.List(ma.fields.Nested(StoreOut))
    backups = ma.fields.String()
    created_at = ma.fields.AwareDateTime()
    finished_at = ma.fields.AwareDateTime(allow_none=True)


class ErasurePage(Envelope):
    """A page of erasures."""

    data = ma.fields.List(ma.fields.Nested(ErasureOut))


_OUT = ErasureOut()


@blueprint.route("/erasures")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=ErasurePage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List erasures, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    with transaction() as session:
        rows = erasing.listed(
            session, caller().workspace_id, before=before[0] if before else None, limit=args["limit"] + 1
        )
        return page(rows, args["limit"], dump_erasure, lambda erasure: (erasure.id,))


@blueprint.route("/erasures/<uuid:erasure_id>")
@blueprint.alt_response(200, schema=ErasureOut)
def get(erasure_id: uuid.UUID) -> dict[str, Any]:
    """Look at an erasure and its certificate."""
    with transaction() as session:
        return dump_erasure(erasing.get(session, caller().workspace_id, erasure_id))


def dump_erasure(erasure: Erasure) -> dict[str, Any]:
    """Return an erasure as JSON."""
    names = ("id", "contact_id", "state", "actor", "job_id", "created_at", "finished_at")
    values = {name: getattr(erasure, name) for name in names}
    return _OUT.dump({**values, "stores": erasing.certificate(erasure), "backups": erasing.BACKUPS})
