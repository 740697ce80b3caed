"""`/api/v1/suppressions`: who does not want to be written to."""

import uuid
from typing import Any

import marshmallow as ma
from sqlalchemy.orm import Session

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.core.db import transaction
from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.messages.service import outbox
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.phones import e164
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("suppressions", __name__, description="Who does not want to be written to, and the evidence")
_SCOPES = list(map(str, SuppressionScope))


class SuppressionOut(ma.Schema):
    """An address that is not to be written to."""

    id = ma.fields.UUID()
    address = ma.fields.String()
    medium = ma.fields.String()
    scope = ma.fields.String()
    reason = ma.fields.String()
    actor = ma.fields.String()
    evidence = ma.fields.Dict()
    changed_at = ma.fields.AwareDateTime()


class SuppressionPage(Envelope):
    """A page of addresses."""

    data = ma.fields.List(ma.fields.Nested(SuppressionOut))


class ListArgs(PageArgs):
    """Which addresses."""

    address = ma.fields.String(load_default=None)


class SuppressionIn(ma.Schema):
    """Whom not to write to, by which medium, and the evidence."""

    address = ma.fields.String(required=True, validate=ma.validate.Length(1, 320))
    medium = ma.fields.String(load_default="*", validate=ma.validate.OneOf(suppression.MEDIA))
    scope = ma.fields.String(load_default="all", validate=ma.validate.OneOf(_SCOPES))
    note = ma.fields.String(
        required=True,
        validate=ma.validate.Length(1, 1000),
        error_messages={"required": "Say how the person made this known: others will ask."},
    )


class ConsentIn(SuppressionIn):
    """Who wants to be written to again. `note` is the proof that the person said so."""


_OUT = SuppressionOut()


@blueprint.route("/suppressions")
@blueprint.arguments(ListArgs, location="query")
@blueprint.alt_response(200, schema=SuppressionPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List addresses that are not to be written to, the newest first."""
    before, limit = decode(args["cursor"], uuid.UUID), args["limit"]
    me = caller()
    with transaction() as session:
        address = _address(session, args["address"]) if args["address"] else None
        rows = suppression.listed(
            session, me.workspace_id, address=address, before=before[0] if before else None, limit=limit + 1
        )
        return page(rows, limit, _OUT.dump, lambda entry: (entry.id,))


@blueprint.route("/suppressions", methods=["POST"])
@blueprint.arguments(SuppressionIn)
@blueprint.alt_response(201, schema=SuppressionPage)
def add(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Write down that an address is not to be written to."""
    return _note(suppression.suppress, body), 201


@blueprint.route("/suppressions/allow", methods=["POST"])
@blueprint.arguments(ConsentIn)
@blueprint.alt_response(200, schema=SuppressionPage)
def allow(body: dict[str, Any]) -> dict[str, Any]:
    """Write down that a person wants to be written to again; answers what is still in force for the address."""
    return _note(suppression.allow, body)


def _note(write: Any, body: dict[str, Any]) -> dict[str, Any]:
    me = caller()
    with transaction() as session:
        address = _address(session, body["address"])
        write(
            session,
            me.workspace_id,
            address,
            medium=body["medium"],
            scope=SuppressionScope(body["scope"]),
            reason="api",
            actor=me.name,
            evidence={"note": body["note"]},
        )
        rows = suppression.listed(session, me.workspace_id, address=address)
        return {"data": [_OUT.dump(row) for row in rows], "next": None}


def _address(session: Session, text: str) -> str:
    """Return an address as the list has it: a number in any writing is E.164 there."""
    text = text.strip()
    if "@" in text:
        return outbox.email_address(text)
    if outbox.USER_ID.fullmatch(text):
        return text
    try:
        return e164(text, workspaces.get(session, caller().workspace_id).region)
    except Invalid:
        remedy = "Give a phone number, an e-mail address or a user id."
        raise Invalid("This is not an address.", fields=[FieldError("address", remedy)]) from None
