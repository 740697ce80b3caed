"""`/api/v1/bulk`: one action on many contacts, with its totals."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.contacts.audience import AudienceSchema
from crm_tasks.contacts.schemas import Tags
from crm_tasks.core.db import transaction
from crm_tasks.imports import bulk
from crm_tasks.imports.bulk_models import Action, BulkAction
from webapp.api.once import DOCUMENTED, once
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("bulk", __name__, description="One action on many contacts")


class BulkIn(ma.Schema):
    """What to do, and with whom."""

    action = ma.fields.String(required=True, validate=ma.validate.OneOf(list(map(str, Action))))
    audience = ma.fields.Nested(AudienceSchema, required=True)
    tags = Tags(metadata={"description": "For `tag` and `untag`"})
    user_id = ma.fields.UUID(allow_none=True, metadata={"description": "For `assign`; null assigns nobody"})


class BulkTotalsOut(ma.Schema):
    """How many were meant at the beginning, come to so far, changed, and left as they are because of a failure."""

    audience = ma.fields.Integer(allow_none=True)
    matched = ma.fields.Integer()
    changed = ma.fields.Integer()
    failed = ma.fields.Integer()


class BulkOut(ma.Schema):
    """An action on many contacts."""

    id = ma.fields.UUID()
    action = ma.fields.String()
    audience = ma.fields.Dict()
    value = ma.fields.Dict()
    state = ma.fields.String()
    totals = ma.fields.Nested(BulkTotalsOut)
    actor = ma.fields.String()
    job_id = ma.fields.UUID()
    created_at = ma.fields.AwareDateTime()
    started_at = ma.fields.AwareDateTime(allow_none=True)
    finished_at = ma.fields.AwareDateTime(allow_none=True)


class BulkPage(Envelope):
    """A page of actions."""

    data = ma.fields.List(ma.fields.Nested(BulkOut))


_OUT = BulkOut()


@blueprint.route("/bulk")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=BulkPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List actions, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    with transaction() as session:
        rows = bulk.listed(
            session, caller().workspace_id, before=before[0] if before else None, limit=args["limit"] + 1
        )
        return page(rows, args["limit"], _dump, lambda action: (action.id,))


@blueprint.route("/bulk", methods=["POST"])
@blueprint.doc(parameters=DOCUMENTED)
@blueprint.arguments(BulkIn)
@blueprint.alt_response(202, schema=BulkOut)
def start(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Tag, untag, assign or delete all contacts of an audience."""
    me = caller()
    value: dict[str, Any] = {name: body[name] for name in ("tags", "user_id") if name in body}
    action = Action(body["action"])
    return once(
        lambda session: _dump(
            bulk.start(session, me.workspace_id, action, audience=body["audience"], value=value, actor=me.name)
        )
    )


@blueprint.route("/bulk/<uuid:bulk_id>")
@blueprint.alt_response(200, schema=BulkOut)
def get(bulk_id: uuid.UUID) -> dict[str, Any]:
    """Look at an action and how far it is."""
    with transaction() as session:
        return _dump(bulk.get(session, caller().workspace_id, bulk_id))


@blueprint.route("/bulk/<uuid:bulk_id>/cancel", methods=["POST"])
@blueprint.alt_response(200, schema=BulkOut)
def cancel(bulk_id: uuid.UUID) -> dict[str, Any]:
    """Stop an action. What it has done stays done."""
    me = caller()
    with transaction() as session:
        return _dump(bulk.cancel(session, me.workspace_id, bulk_id, actor=me.name))


def _dump(action: BulkAction) -> dict[str, Any]:
    columns = {column.key: getattr(action, column.key) for column in BulkAction.__table__.columns}
    return _OUT.dump({**columns, "totals": {**columns, "audience": action.audience_size}})
