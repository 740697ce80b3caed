"""`/api/v1/webhooks`: who is told what happens here, what became of each delivery, and sending again."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.webhooks.models import DeliveryState
from crm_tasks.webhooks.schemas import (
    DeliveryDetailOut,
    DeliveryOut,
    EndpointChangeSchema,
    EndpointOut,
    NewEndpointSchema,
    dump_delivery,
    dump_detail,
    dump_endpoint,
)
from crm_tasks.webhooks.service import endpoints, history
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("webhooks", __name__, description="Webhooks to the business's own systems")


class EndpointPage(Envelope):
    """The endpoints."""

    data = ma.fields.List(ma.fields.Nested(EndpointOut))


class DeliveryPage(Envelope):
    """A page of deliveries."""

    data = ma.fields.List(ma.fields.Nested(DeliveryOut))


class DeliveryArgs(PageArgs):
    """Which deliveries."""

    state = ma.fields.String(load_default=None, validate=ma.validate.OneOf(list(map(str, DeliveryState))))
    since = ma.fields.AwareDateTime(load_default=None, metadata={"description": "Begun at this moment or later"})


class ReplayIn(ma.Schema):
    """From when on."""

    since = ma.fields.AwareDateTime(
        required=True, error_messages={"required": "Say from when on, such as 2026-11-21T08:00:00Z."}
    )


class ReplayOut(ma.Schema):
    """How many are sent again."""

    deliveries = ma.fields.Integer()


@blueprint.route("/webhooks")
@blueprint.alt_response(200, schema=EndpointPage)
def listed() -> dict[str, Any]:
    """List the endpoints, the oldest first."""
    with transaction() as session:
        found = endpoints.listed(session, caller().workspace_id)
        return {"data": [dump_endpoint(each) for each in found], "next": None}


@blueprint.route("/webhooks", methods=["POST"])
@blueprint.arguments(NewEndpointSchema)
@blueprint.alt_response(201, schema=EndpointOut, description="Its secret is in this answer and never again")
def add(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Add an endpoint. The answer has its secret, this once."""
    me = caller()
    with transaction() as session:
        made = endpoints.add(session, me.workspace_id, endpoints.NewEndpoint(**body), actor=me.name)
        return dump_endpoint(made, secret=True), 201


@blueprint.route("/webhooks/<uuid:endpoint_id>")
@blueprint.alt_response(200, schema=EndpointOut)
def get(endpoint_id: uuid.UUID) -> dict[str, Any]:
    """Look at an endpoint."""
    with transaction() as session:
        return dump_endpoint(endpoints.get(session, caller().workspace_id, endpoint_id))


@blueprint.route("/webhooks/<uuid:endpoint_id>", methods=["PATCH"])
@blueprint.arguments(EndpointChangeSchema)
@blueprint.alt_response(200, schema=EndpointOut)
def change(body: dict[str, Any], endpoint_id: uuid.UUID) -> dict[str, Any]:
    """Change an endpoint, enable or disable it."""
    me = caller()
    with transaction() as session:
        return dump_endpoint(endpoints.change(session, me.workspace_id, endpoint_id, body, actor=me.name))


@blueprint.route("/webhooks/<uuid:endpoint_id>", methods=["DELETE"])
@blueprint.alt_response(204, description="It is gone")
def remove(endpoint_id: uuid.UUID) -> tuple[str, int]:
    """Remove an endpoint; what waits for it is cancelled."""
    me = caller()
    with transaction() as session:
        endpoints.remove(session, me.workspace_id, endpoint_id, actor=me.name)
    return "", 204


@blueprint.route("/webhooks/<uuid:endpoint_id>/rotate-secret", methods=["POST"])
@blueprint.alt_response(200, schema=EndpointOut)
def rotate_secret(endpoint_id: uuid.UUID) -> dict[str, Any]:
    """Make a new secret, in this answer only. For 24 hours every delivery is signed with both."""
    me = caller()
    with transaction() as session:
        made = endpoints.rotate_secret(session, me.workspace_id, endpoint_id, actor=me.name)
        return dump_endpoint(made, secret=True)


@blueprint.route("/webhooks/<uuid:endpoint_id>/test", methods=["POST"])
@blueprint.alt_response(202, schema=DeliveryOut)
def test(endpoint_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Send `webhook.test` to an endpoint now, whatever types it wants."""
    workspace_id = caller().workspace_id
    with transaction() as session:
        delivery_id = endpoints.test(session, workspace_id, endpoint_id)
        return dump_delivery(history.delivery(session, workspace_id, delivery_id)), 202


@blueprint.route("/webhooks/<uuid:endpoint_id>/deliveries")
@blueprint.arguments(DeliveryArgs, location="query")
@blueprint.alt_response(200, schema=DeliveryPage)
def deliveries(args: dict[str, Any], endpoint_id: uuid.UUID) -> dict[str, Any]:
    """List deliveries of an endpoint, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    with transaction() as session:
        rows = history.deliveries(
            session,
            caller().workspace_id,
            endpoint_id,
            state=DeliveryState(args["state"]) if args["state"] else None,
            since=args["since"],
            before=before[0] if before else None,
            limit=args["limit"] + 1,
        )
        return page(rows, args["limit"], dump_delivery, lambda row: (row[0].id,))


@blueprint.route("/webhooks/deliveries/<uuid:delivery_id>")
@blueprint.alt_response(200, schema=DeliveryDetailOut)
def delivery(delivery_id: uuid.UUID) -> dict[str, Any]:
    """Look at a delivery: what is sent, and every attempt with its answer."""
    with transaction() as session:
        row = history.delivery(session, caller().workspace_id, delivery_id)
        return dump_detail(row, history.body(session, row[0].event_id), history.attempts(session, delivery_id))


@blueprint.route("/webhooks/deliveries/<uuid:delivery_id>/replay", methods=["POST"])
@blueprint.alt_response(202, schema=DeliveryOut)
def replay(delivery_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Send a delivery again, under the same `webhook-id`."""
    me = caller()
    with transaction() as session:
        return dump_delivery(history.replay(session, me.workspace_id, delivery_id, actor=me.name)), 202


@blueprint.route("/webhooks/<uuid:endpoint_id>/replay", methods=["POST"])
@blueprint.arguments(ReplayIn)
@blueprint.alt_response(202, schema=ReplayOut)
def replay_missing(body: dict[str, Any], endpoint_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Send again all that was not delivered since a moment."""
    me = caller()
    total = history.replay_all(me.workspace_id, endpoint_id, since=body["since"], actor=me.name)
    return {"deliveries": total}, 202
