"""`/api/v1/messages`: accept a message, look at one."""

import uuid
from typing import Any

import marshmallow as ma
from flask import request

from crm_tasks.core import idempotency
from crm_tasks.core.db import transaction
from crm_tasks.messages.schemas import MarkReadIn, MarkReadOut, MessageOut, NewMessageSchema, dump_message
from crm_tasks.messages.service import explain, history, outbox, reading
from crm_tasks.messages.service import settle as settling
from crm_tasks.messages.service.settle import Decision
from webapp.api.conversations import MessagePage
from webapp.api.paging import PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.api.shapes import ExplanationOut
from webapp.auth import caller

blueprint = Blueprint("messages", __name__, description="Messages to and from customers")


class SettleIn(ma.Schema):
    """What was decided."""

    decision = ma.fields.String(required=True, validate=ma.validate.OneOf(list(map(str, Decision))))


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
@blueprint.alt_response(200, schema=MessageOut)
def get(message_id: uuid.UUID) -> dict[str, Any]:
    """Look at a message, with what was done to it since."""
    with transaction() as session:
        return dump_message(history.get(session, caller().workspace_id, message_id))


@blueprint.route("/messages/<uuid:message_id>/explain")
@blueprint.alt_response(200, schema=ExplanationOut)
def explained(message_id: uuid.UUID) -> dict[str, Any]:
    """Say why a message waits, by which gate and until when; or what happened to it, step by step."""
    with transaction() as session:
        return ExplanationOut().dump(explain.message(session, message_id, workspace_id=caller().workspace_id))


@blueprint.route("/messages/<uuid:message_id>/read", methods=["POST"])
@blueprint.arguments(MarkReadIn, required=False)
@blueprint.alt_response(202, schema=MarkReadOut, description="Accepted: the provider will be told")
def read(body: dict[str, Any], message_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Mark a customer's message, and so all before it, as read; maybe show that somebody types."""
    with transaction() as session:
        job_id = reading.mark(session, caller().workspace_id, message_id, typing=body["typing"])
    return {"message_id": str(message_id), "job_id": str(job_id)}, 202


@blueprint.route("/messages/unknown")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=MessagePage)
def unknown(args: dict[str, Any]) -> dict[str, Any]:
    """List messages that may have been sent and may not, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    with transaction() as session:
        rows = settling.waiting(
            session, caller().workspace_id, before=before[0] if before else None, limit=args["limit"] + 1
        )
        return page(rows, args["limit"], dump_message, lambda message: (message.id,))


@blueprint.route("/messages/<uuid:message_id>/settle", methods=["POST"])
@blueprint.arguments(SettleIn)
@blueprint.alt_response(200, schema=MessageOut)
def settle(body: dict[str, Any], message_id: uuid.UUID) -> dict[str, Any]:
    """Decide about an unknown message: send it again, though it may arrive twice, or take it for failed."""
    me = caller()
    with transaction() as session:
        message = settling.decide(
            session, message_id, Decision(body["decision"]), actor=me.name, workspace_id=me.workspace_id
        )
        return dump_message(message)


def _new_message(new: dict[str, Any]) -> outbox.NewMessage:
    kind = new["type"]
    context = new.get("context") or {}
    instead = new.get("fallback_template")
    return outbox.NewMessage(
        type=kind,
        # As customers' cards are kept: an object of which the list is a part.
        content={kind: new[kind]} if isinstance(new[kind], list) else new[kind],
        context_id=context.get("message_id"),
        author="api",
        fallback={"template": instead} if instead else None,
    )
