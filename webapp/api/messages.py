"""`/api/v1/messages`: accept a message, look at one."""

import uuid
from typing import Any

from flask import request
from flask_smorest import Blueprint

from crm_tasks.core import idempotency
from crm_tasks.core.db import transaction
from crm_tasks.messages.schemas import MessageOut, NewMessageSchema, dump_message
from crm_tasks.messages.service import history, outbox
from webapp.auth import caller

blueprint = Blueprint("messages", __name__, description="Messages to and from customers")


@blueprint.route("/messages", methods=["POST"])
@blueprint.arguments(NewMessageSchema)
@blueprint.alt_response(202, schema=MessageOut, description="Accepted: it is kept and will be sent")
@blueprint.doc(
    parameters=[
        {
            "in": "header",
            "name": "Idempotency-Key",
            "schema": {"type": "string", "maxLength": idempotency.MAX_KEY},
            "description": "The same key and body get the same answer; the key with another body is a 409.",
        }
    ]
)
def send(new: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Send a message.

    Answers at once with the message in state `queued` and its `job_id`; statuses follow as the provider reports them.
    """
    key = request.headers.get("Idempotency-Key")
    workspace_id = caller().workspace_id
    with transaction() as session:
        if key is not None:
            earlier = idempotency.begin(session, workspace_id, key, request.get_data())
            if earlier is not None:
                return earlier.body, earlier.status
        message = outbox.send_to(session, workspace_id, new["channel_id"], new["to"], _new_message(new))
        body = dump_message(message)
        if key is not None:
            idempotency.remember(session, workspace_id, key, 202, body)
    return body, 202


@blueprint.route("/messages/<uuid:message_id>")
@blueprint.response(200, MessageOut)
def get(message_id: uuid.UUID) -> dict[str, Any]:
    """Look at a message, with what was done to it since."""
    with transaction() as session:
        return dump_message(history.get(session, caller().workspace_id, message_id))


def _new_message(new: dict[str, Any]) -> outbox.NewMessage:
    kind = new["type"]
    context = new.get("context") or {}
    return outbox.NewMessage(type=kind, content=new[kind], context_id=context.get("message_id"), author="api")
