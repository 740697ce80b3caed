"""`/api/v1/holds`: stop work by scope, and let it go on."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core import holds
from crm_tasks.core.db import transaction
from crm_tasks.core.jobs.model import Hold
from crm_tasks.core.schemas import HoldIn, HoldOut
from webapp import own
from webapp.api.reading import Blueprint
from webapp.api.shapes import HoldPage
from webapp.auth import caller

blueprint = Blueprint("holds", __name__, description="Holds: what is stopped, by whom and why")
_HOLD = HoldOut()


class HoldArgs(ma.Schema):
    """Which holds."""

    ended = ma.fields.Boolean(load_default=False)


@blueprint.route("/holds")
@blueprint.arguments(HoldArgs, location="query")
@blueprint.alt_response(200, schema=HoldPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List the holds in force, or the last 200 of any kind."""
    with transaction() as session:
        counts = holds.held_counts(session)
        found = holds.listed(session, workspace_id=caller().sees, ended=args["ended"])
        return {"data": [_dump(hold, counts) for hold in found], "next": None}


@blueprint.route("/holds", methods=["POST"])
@blueprint.arguments(HoldIn)
@blueprint.alt_response(201, schema=HoldOut)
def place(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Stop everything in a scope from being started. What already runs finishes."""
    me = caller()
    with transaction() as session:
        if not me.operator:
            own.check(session, me.workspace_id, body["scope"])
        hold = holds.place(
            session,
            body["scope"],
            reason=body["reason"],
            actor=me.name,
            expires_at=body["expires_at"],
            workspace_id=None if me.operator else me.workspace_id,
        )
        return _dump(hold, {}), 201


@blueprint.route("/holds/<uuid:hold_id>", methods=["DELETE"])
@blueprint.alt_response(200, schema=HoldOut)
def release(hold_id: uuid.UUID) -> dict[str, Any]:
    """End a hold."""
    me = caller()
    with transaction() as session:
        return _dump(holds.release(session, hold_id, actor=me.name, workspace_id=me.sees), {})


def _dump(hold: Hold, counts: dict[str, int]) -> dict[str, Any]:
    return _HOLD.dump(hold) | {"held_jobs": counts.get(str(hold.id), 0)}
