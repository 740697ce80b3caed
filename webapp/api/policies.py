"""`/api/v1/policies`: rules of a workspace about its messages."""

from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.workspaces import policies
from webapp.api.paging import Envelope
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("policies", __name__, description="Rules about messages: quiet hours, caps, prices, budget, rate")


class PolicyOut(ma.Schema):
    """A rule, and who set it."""

    name = ma.fields.String()
    value = ma.fields.Dict()
    set_by = ma.fields.String()
    set_at = ma.fields.AwareDateTime()


class PolicyPage(Envelope):
    """The rules."""

    data = ma.fields.List(ma.fields.Nested(PolicyOut))


class ValueIn(ma.Schema):
    """The value of a rule; which fields it has depends on the rule."""

    class Meta:
        """Read by the rule's own schema."""

        unknown = ma.INCLUDE


@blueprint.route("/policies")
@blueprint.alt_response(200, schema=PolicyPage)
def listed() -> dict[str, Any]:
    """List the rules of this workspace."""
    with transaction() as session:
        found = policies.listed(session, caller().workspace_id)
        return {"data": [PolicyOut().dump(each) for each in found], "next": None}


@blueprint.route("/policies/<name>", methods=["PUT"])
@blueprint.arguments(ValueIn)
@blueprint.alt_response(200, schema=PolicyOut)
def put(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Set a rule: `quiet_hours`, `frequency_cap`, `prices`, `budget` or `rate`."""
    me = caller()
    with transaction() as session:
        return PolicyOut().dump(policies.put(session, me.workspace_id, name, body, actor=me.name))


@blueprint.route("/policies/<name>", methods=["DELETE"])
@blueprint.alt_response(204, description="It is no more")
def remove(name: str) -> tuple[str, int]:
    """End a rule."""
    me = caller()
    with transaction() as session:
        policies.remove(session, me.workspace_id, name, actor=me.name)
    return "", 204
