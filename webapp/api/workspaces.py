"""`/api/v1/workspaces`: the tenants and the share of the workers that each has. For operators."""

import uuid
from typing import Any

import marshmallow as ma
import sqlalchemy as sa

from crm_tasks.core.db import transaction
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Workspace
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller, require_operator

blueprint = Blueprint("workspaces", __name__, description="Tenants")
_WEIGHT = ma.validate.Range(1, workspaces.MOST_WEIGHT, error=f"Use 1 to {workspaces.MOST_WEIGHT}.")


class WorkspaceOut(ma.Schema):
    """One tenant."""

    id = ma.fields.UUID()
    name = ma.fields.String()
    region = ma.fields.String(metadata={"description": "Country in which phone numbers are written"})
    weight = ma.fields.Integer(
        metadata={"description": "Share of the workers while others have work too: 2 is twice that of 1"}
    )
    created_at = ma.fields.DateTime()


class WorkspacePage(Envelope):
    """A page of tenants."""

    data = ma.fields.List(ma.fields.Nested(WorkspaceOut))


class WorkspaceChange(ma.Schema):
    """What to change of a tenant."""

    weight = ma.fields.Integer(strict=True, required=True, validate=_WEIGHT)


@blueprint.route("/workspaces")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=WorkspacePage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List the workspaces."""
    require_operator()
    after, limit = decode(args["cursor"], uuid.UUID), args["limit"]
    query = sa.select(Workspace).order_by(Workspace.id).limit(limit + 1)
    with transaction() as session:
        rows = list(session.scalars(query.where(Workspace.id > after[0]) if after else query))
        return page(rows, limit, WorkspaceOut().dump, lambda row: (row.id,))


@blueprint.route("/workspaces/<uuid:workspace_id>", methods=["PATCH"])
@blueprint.arguments(WorkspaceChange)
@blueprint.response(200, WorkspaceOut)
def change(body: dict[str, Any], workspace_id: uuid.UUID) -> Workspace:
    """Give a workspace its share of the workers while others have work too."""
    require_operator()
    with transaction() as session:
        return workspaces.set_weight(session, workspace_id, body["weight"], actor=caller().name)
