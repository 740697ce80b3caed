"""`/api/v1/contacts`: the people on the other side; `/api/v1/attributes`: what is kept of them beside the usual."""

import uuid
from typing import Any

import marshmallow as ma
from sqlalchemy.orm import Session

from crm_tasks.contacts import attributes, directory, search, segments, suppression
from crm_tasks.contacts.models import AttributeType, Contact
from crm_tasks.contacts.schemas import (
    AttributeIn,
    AttributeOut,
    ConsentEventOut,
    ContactIn,
    PersonOut,
    dump_contact,
)
from crm_tasks.core.db import transaction
from crm_tasks.imports import erasing
from crm_tasks.messages.service import removing
from webapp.api.erasures import dump_erasure
from webapp.api.once import DOCUMENTED, once
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.api.suppressions import SuppressionOut
from webapp.auth import caller

blueprint = Blueprint("contacts", __name__, description="Contacts, and the attributes that are kept of them")


class ContactPage(Envelope):
    """A page of contacts."""

    data = ma.fields.List(ma.fields.Nested(PersonOut))


class AttributePage(Envelope):
    """The attributes."""

    data = ma.fields.List(ma.fields.Nested(AttributeOut))


class ContactArgs(PageArgs):
    """Which contacts."""

    q = ma.fields.String(
        load_default="",
        validate=ma.validate.Length(max=search.LONGEST),
        metadata={"description": "A part of a name, of a phone number in any writing, or of an e-mail address"},
    )
    tag = ma.fields.String(load_default="")
    segment_id = ma.fields.UUID(load_default=None)


class RemoveArgs(ma.Schema):
    """How a contact goes."""

    erase = ma.fields.Boolean(
        load_default=False,
        metadata={"description": "Also what is kept of the person elsewhere; the answer is 202 with an erasure"},
    )


class ConsentOut(ma.Schema):
    """What is in force against a person, and all that was said about it, the newest first."""

    suppressions = ma.fields.List(ma.fields.Nested(SuppressionOut))
    history = ma.fields.List(ma.fields.Nested(ConsentEventOut))


_ATTRIBUTE, _CONSENT = AttributeOut(), ConsentOut()


@blueprint.route("/contacts")
@blueprint.arguments(ContactArgs, location="query")
@blueprint.alt_response(200, schema=ContactPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List contacts, the newest first."""
    workspace_id = caller().workspace_id
    with transaction() as session:
        conditions = []
        if args["segment_id"]:
            segment = segments.get(session, workspace_id, args["segment_id"])
            conditions.append(segments.compile(session, workspace_id, segment.conditions))
        return found(session, args, q=args["q"], tag=args["tag"], conditions=conditions)


@blueprint.route("/contacts", methods=["POST"])
@blueprint.doc(parameters=DOCUMENTED)
@blueprint.arguments(ContactIn)
@blueprint.alt_response(201, schema=PersonOut)
def create(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Make a contact. A number or address that is another's is a 409 which names the other contact."""
    return once(lambda session: dumped(session, directory.create(session, caller().workspace_id, body)), 201)


@blueprint.route("/contacts/<uuid:contact_id>")
@blueprint.alt_response(200, schema=PersonOut)
def get(contact_id: uuid.UUID) -> dict[str, Any]:
    """Look at a contact."""
    with transaction() as session:
        return dumped(session, directory.get(session, caller().workspace_id, contact_id))


@blueprint.route("/contacts/<uuid:contact_id>", methods=["PATCH"])
@blueprint.arguments(ContactIn)
@blueprint.alt_response(200, schema=PersonOut)
def change(body: dict[str, Any], contact_id: uuid.UUID) -> dict[str, Any]:
    """Change a contact: what is left out stays, null takes away."""
    with transaction() as session:
        return dumped(session, directory.change(session, caller().workspace_id, contact_id, body))


@blueprint.route("/contacts/<uuid:contact_id>", methods=["DELETE"])
@blueprint.arguments(RemoveArgs, location="query")
@blueprint.alt_response(204, description="It is gone, with its conversations; what waited is cancelled")
@blueprint.alt_response(202, description="It is being erased: `/erasures/{id}` has the certificate")
def remove(args: dict[str, Any], contact_id: uuid.UUID) -> Any:
    """Remove a contact; with `erase=true` also what is kept of the person anywhere else."""
    me = caller()
    if not args["erase"]:
        removing.remove(me.workspace_id, contact_id, actor=me.name)
        return "", 204
    with transaction() as session:
        return dump_erasure(erasing.begin(session, me.workspace_id, contact_id, actor=me.name)), 202


@blueprint.route("/contacts/<uuid:contact_id>/consent")
@blueprint.alt_response(200, schema=ConsentOut)
def consent(contact_id: uuid.UUID) -> dict[str, Any]:
    """Look at what a person wants and has refused, with what proves it."""
    workspace_id = caller().workspace_id
    with transaction() as session:
        directory.get(session, workspace_id, contact_id)
        named = suppression.addresses(session, contact_id, "*")
        return _CONSENT.dump(
            {
                "suppressions": suppression.of_contact(session, workspace_id, contact_id),
                "history": suppression.history(session, workspace_id, named),
            }
        )


@blueprint.route("/attributes")
@blueprint.alt_response(200, schema=AttributePage)
def defined() -> dict[str, Any]:
    """List the attributes by name."""
    with transaction() as session:
        known = attributes.listed(session, caller().workspace_id)
        return {"data": [_ATTRIBUTE.dump(each) for each in known], "next": None}


@blueprint.route("/attributes", methods=["PUT"])
@blueprint.arguments(AttributeIn)
@blueprint.alt_response(200, schema=AttributeOut)
def define(body: dict[str, Any]) -> dict[str, Any]:
    """Give an attribute its type. Another type is possible as long as no contact has a value."""
    with transaction() as session:
        type = AttributeType(body["type"])
        return _ATTRIBUTE.dump(attributes.define(session, caller().workspace_id, body["name"], type))


def found(session: Session, args: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """Return a page of contacts."""
    before = decode(args["cursor"], uuid.UUID)
    contacts = search.listed(
        session, caller().workspace_id, before=before[0] if before else None, limit=args["limit"] + 1, **wanted
    )
    named = directory.identities(session, [each.id for each in contacts])
    return page(contacts, args["limit"], lambda each: dump_contact(each, named[each.id]), lambda each: (each.id,))


def dumped(session: Session, contact: Contact) -> dict[str, Any]:
    """Return a contact as JSON."""
    return dump_contact(contact, directory.identities(session, [contact.id])[contact.id])
