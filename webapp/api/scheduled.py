"""`/api/v1/scheduled`: messages that wait for their time."""

import uuid
from datetime import datetime
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.messages.schemas import MessageOut, dump_message
from crm_tasks.messages.service import scheduled
from webapp.api.conversations import MessagePage
from webapp.api.paging import PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("scheduled", __name__, description="Messages that wait for their time")


class MoveIn(ma.Schema):
    """The new time."""

    scheduled_for = ma.fields.AwareDateTime(
        required=True,
        metadata={"description": "ISO 8601 with a time zone; what is past is now"},
        error_messages={
            "required": "Say when, such as 2027-01-31T09:00:00+01:00.",
            "invalid": "Write a moment with its time zone, such as 2027-01-31T09:00:00+01:00.",
            "invalid_awareness": "Add the time zone, such as +01:00 or Z.",
        },
    )


@blueprint.route("/scheduled")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=MessagePage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List messages that are not due yet, the next one first."""
    after = decode(args["cursor"], datetime, uuid.UUID)
    limit = args["limit"]
    with transaction() as session:
        rows = scheduled.listed(session, caller().workspace_id, after=after, limit=limit + 1)
        return page(rows, limit, dump_message, lambda message: (message.scheduled_for, message.id))


@blueprint.route("/scheduled/<uuid:message_id>", methods=["PATCH"])
@blueprint.arguments(MoveIn)
@blueprint.alt_response(200, schema=MessageOut)
def move(body: dict[str, Any], message_id: uuid.UUID) -> dict[str, Any]:
    """Send a message at another time."""
    me = caller()
    with transaction() as session:
        return dump_message(
            scheduled.move(session, message_id, body["scheduled_for"], actor=me.name, workspace_id=me.workspace_id)
        )


@blueprint.route("/scheduled/<uuid:message_id>", methods=["DELETE"])
@blueprint.alt_response(200, schema=MessageOut)
def cancel(message_id: uuid.UUID) -> dict[str, Any]:
    """Do not send a message that waits."""
    me = caller()
    with transaction() as session:
        return dump_message(scheduled.cancel(session, message_id, actor=me.name, workspace_id=me.workspace_id))
