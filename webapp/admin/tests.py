"""Tests that people make: a message by a channel, an event to a webhook; what was asked and what was answered."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import marshmallow as ma
import orjson
from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, NotFound
from crm_tasks.email.service import accept as email
from crm_tasks.messages.models import Message
from crm_tasks.messages.schemas import NewMessageSchema
from crm_tasks.messages.service import explain, outbox, trying
from crm_tasks.providers import registry
from crm_tasks.templates import service as templates
from crm_tasks.templates.models import APPROVED
from crm_tasks.webhooks.models import EndpointState
from crm_tasks.webhooks.service import endpoints
from crm_tasks.workspaces import service as workspaces
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import asked, by_field, problems, typed

# What is tried: messages by the medium of their channel, and webhooks.
MEDIA = {"whatsapp": "WhatsApp", "sms": "SMS", "email": "E-mail", "webhook": "Webhook"}
TEMPLATES = 200
# So that one sees at once that it came from here.
SAID = "A test message of your CRM"


@blueprint.get("/test")
def tests() -> str:
    """Show the form of a medium."""
    return _page(asked("medium", "channel_id", "endpoint_id"), [])


@blueprint.post("/test")
def send_test() -> ResponseReturnValue:
    """Send a message as the API would; what is wrong with it is shown in the form."""
    given = typed()
    try:
        new = NewMessageSchema().load(_as_json(given))
        with db.transaction() as session:
            message = _send(session, new)
    except (ma.ValidationError, DomainError) as error:
        return _page(given, problems(error)), 422
    return redirect(url_for("admin.test_message", message_id=message.id))


@blueprint.post("/test/webhook")
def send_test_event() -> ResponseReturnValue:
    """Send an event to an endpoint."""
    given = {**typed(), "medium": "webhook"}
    try:
        endpoint_id = uuid.UUID(given.get("endpoint_id", ""))
    except ValueError:
        return _page(given, [FieldError("endpoint_id", "Choose an endpoint.")]), 422
    try:
        with db.transaction() as session:
            delivery_id = endpoints.test(session, here().workspace_id, endpoint_id)
    except NotFound:
        raise
    except DomainError as error:
        return _page(given, problems(error)), 422
    return redirect(url_for("admin.delivery", delivery_id=delivery_id))


@blueprint.get("/test/messages/<uuid:message_id>")
def test_message(message_id: uuid.UUID) -> str:
    """Show what became of a test."""
    return render_template("admin/test.html", **_message(message_id))


@blueprint.get("/test/messages/<uuid:message_id>/part")
def test_message_part(message_id: uuid.UUID) -> str:
    """Show the part of the page that changes."""
    return render_template("admin/_test_message.html", **_message(message_id))


# --- the form ----------------------------------------------------------------------------------------------------


def _page(given: Mapping[str, str], wrong: Sequence[FieldError]) -> str:
    me, media = here(), _media()
    medium = given["medium"] if given.get("medium") in media else "whatsapp"
    with db.transaction() as session:
        ways = [
            each
            for each in workspaces.channels(session, me.workspace_id)
            if registry.provider(each.kind).medium == medium
        ]
        return render_template(
            "admin/tests.html",
            media=media,
            medium=medium,
            given=given,
            said=SAID,
            problems=wrong,
            wrong=by_field(list(wrong)),
            channels=ways,
            endpoints=[
                each for each in endpoints.listed(session, me.workspace_id) if each.state is EndpointState.ENABLED
            ],
            templates=templates.listed(session, me.workspace_id, status=APPROVED, limit=TEMPLATES),
        )


def _media() -> dict[str, str]:
    return {name: said for name, said in MEDIA.items() if name != "webhook" or here().may("manage")}


def _as_json(given: Mapping[str, str]) -> dict[str, Any]:
    """Return a form as the API would be asked."""
    shown = {name: given[name] for name in ("channel_id", "to") if given.get(name)}
    if given.get("medium") == "email":
        mail = {name: given[name] for name in ("subject", "text") if given.get(name)}
        return {**shown, "type": "email", "email": mail}
    if given.get("type") == "template":
        return {**shown, "type": "template", "template": _template(given)}
    return {**shown, "type": "text", "text": {"body": given.get("body", "")}}


def _template(given: Mapping[str, str]) -> dict[str, Any]:
    name, _, language = given.get("template", "").partition(" ")
    parts = (("header", given.get("header_values", "")), ("body", given.get("body_values", "")))
    components = [
        {"type": kind, "parameters": [{"type": "text", "text": line.strip()} for line in lines.splitlines()]}
        for kind, lines in parts
        if lines
    ]
    return {"name": name, "language": {"code": language.strip() or "en_US"}, "components": components}


def _send(session: Session, new: Mapping[str, Any]) -> Message:
    kind = new["type"]
    send_to = email.send_to if kind == email.TYPE else outbox.send_to
    made = outbox.NewMessage(type=kind, content=new[kind], author=trying.AUTHOR)
    return send_to(session, here().workspace_id, new["channel_id"], new["to"], made)


# --- what became of it -------------------------------------------------------------------------------------------


def _message(message_id: uuid.UUID) -> dict[str, Any]:
    with db.transaction() as session:
        message = trying.get(session, here().workspace_id, message_id)
        channel = workspaces.channel(session, here().workspace_id, message.channel_id)
        return {
            "message": message,
            "channel": channel,
            "medium": registry.provider(channel.kind).medium,
            "media": MEDIA,
            "live": message.state not in trying.FINAL,
            "told": explain.message(session, message_id),
            "exchanges": [_readable(each) for each in trying.exchanges(message)],
        }


def _readable(exchange: Mapping[str, Any]) -> dict[str, Any]:
    parts = {
        name: {**exchange[name], "body": _pretty(exchange[name]["body"])}
        for name in ("request", "answer")
        if name in exchange
    }
    return {**exchange, **parts}


def _pretty(body: str) -> str:
    """Return JSON with its lines, and anything else as it is."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return body
