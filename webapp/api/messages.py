"""`/api/v1/messages`: accept a message, look at one."""

import uuid
from typing import Any

import marshmallow as ma
from sqlalchemy.orm import Session

from crm_tasks.core.db import transaction
from crm_tasks.email.service import accept as email
from crm_tasks.messages.models import Category
from crm_tasks.messages.schemas import MarkReadIn, MarkReadOut, MessageOut, NewMessageSchema, dump_message
from crm_tasks.messages.service import explain, fallback, history, outbox, reading
from crm_tasks.messages.service import settle as settling
from crm_tasks.messages.service.settle import Decision
from webapp.api.conversations import MessagePage
from webapp.api.once import DOCUMENTED, once
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
@blueprint.doc(parameters=DOCUMENTED)
def send(new: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Send a message.

    Answers at once with the message in state `queued` and its `job_id`; statuses follow as the provider reports them.
    """
    workspace_id, made = caller().workspace_id, _new_message(new)
    send_to = email.send_to if new["type"] == email.TYPE else outbox.send_to

    def make(session: Session) -> dict[str, Any]:
        fallback.check(session, workspace_id, (made.fallback or {}).get("channels", ()))
        return dump_message(send_to(session, workspace_id, new["channel_id"], new["to"], made))

    return once(make)


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
    return outbox.NewMessage(
        type=kind,
        content=_content(new),
        context_id=context.get("message_id"),
        author="api",
        category=Category(new.get("category", Category.SERVICE)),
        scheduled_for=new.get("scheduled_for"),
        fallback=_fallback(new),
        metadata=new.get("metadata"),
    )


def _fallback(new: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is to be said instead, as it is kept with a message."""
    given = new.get("fallback", {})
    ways = [
        {"channel_id": str(way["channel_id"]), "type": way["type"], "content": _content(way)}
        for way in given.get("channels", ())
    ]
    kept = {"channels": ways, "template": new.get("fallback_template") or given.get("template")}
    return {name: value for name, value in kept.items() if value} or None


def _content(new: dict[str, Any]) -> dict[str, Any]:
    """Return the object of the type; of customers' cards, as they are kept: an object of which the list is a part."""
    kind = new["type"]
    return {kind: new[kind]} if isinstance(new[kind], list) else new[kind]
