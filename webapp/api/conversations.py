"""`/api/v1/conversations`: who wrote, and what was said."""

import uuid
from datetime import datetime
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.messages.schemas import ConversationOut, MessageOut, dump_conversation, dump_message
from crm_tasks.messages.service import handover, history
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("conversations", __name__, description="Conversations with customers")


class ConversationArgs(PageArgs):
    """Which conversations."""

    contact_id = ma.fields.UUID(load_default=None)


class ConversationPage(Envelope):
    """A page of conversations."""

    data = ma.fields.List(ma.fields.Nested(ConversationOut))


class MessagePage(Envelope):
    """A page of messages."""

    data = ma.fields.List(ma.fields.Nested(MessageOut))


@blueprint.route("/conversations")
@blueprint.arguments(ConversationArgs, location="query")
@blueprint.alt_response(200, schema=ConversationPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List conversations, the one that spoke last first."""
    before = decode(args["cursor"], datetime, uuid.UUID)
    limit = args["limit"]
    with transaction() as session:
        rows = history.conversations(
            session, caller().workspace_id, contact_id=args["contact_id"], before=before, limit=limit + 1
        )
    return page(rows, limit, dump_conversation, lambda row: (row[0].last_message_at, row[0].id))


@blueprint.route("/conversations/<uuid:conversation_id>")
@blueprint.alt_response(200, schema=ConversationOut)
def get(conversation_id: uuid.UUID) -> dict[str, Any]:
    """Look at a conversation."""
    with transaction() as session:
        return dump_conversation(history.conversation(session, caller().workspace_id, conversation_id))


@blueprint.route("/conversations/<uuid:conversation_id>/take-over", methods=["POST"])
@blueprint.alt_response(200, schema=ConversationOut)
def take_over(conversation_id: uuid.UUID) -> dict[str, Any]:
    """Have a person answer here: nothing automatic is sent until the conversation is handed back."""
    me = caller()
    with transaction() as session:
        return dump_conversation(handover.take_over(session, me.workspace_id, conversation_id, actor=me.name))


@blueprint.route("/conversations/<uuid:conversation_id>/hand-back", methods=["POST"])
@blueprint.alt_response(200, schema=ConversationOut)
def hand_back(conversation_id: uuid.UUID) -> dict[str, Any]:
    """Let what is automatic answer again."""
    me = caller()
    with transaction() as session:
        return dump_conversation(handover.hand_back(session, me.workspace_id, conversation_id))


@blueprint.route("/conversations/<uuid:conversation_id>/messages")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=MessagePage)
def messages(args: dict[str, Any], conversation_id: uuid.UUID) -> dict[str, Any]:
    """List the messages of a conversation, the newest first."""
    before = decode(args["cursor"], datetime, uuid.UUID)
    limit = args["limit"]
    with transaction() as session:
        history.conversation(session, caller().workspace_id, conversation_id)
        rows = history.messages(session, conversation_id, before=before, limit=limit + 1)
    return page(rows, limit, dump_message, lambda shown: (shown.message.occurred_at, shown.message.id))
