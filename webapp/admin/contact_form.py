"""The form of a contact: a new one is made with it, and one that is there changed. Only what was changed is written."""

import uuid
from collections.abc import Mapping
from typing import Any

import marshmallow as ma
from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.contacts import attributes, directory
from crm_tasks.contacts.models import AttributeType, Contact
from crm_tasks.contacts.schemas import ContactIn, dump_contact
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, NotFound
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.contacts import people
from webapp.admin.forms import as_number, by_field, problems, typed, words

_PLAIN = ("name", "phone", "email", "external_id", "time_zone", "locale", "assigned_to")
_ATTRIBUTE = "attribute."


@blueprint.get("/contacts/new")
def contact_form() -> str:
    """Show the form for a new contact."""
    return _form(None, {})


@blueprint.post("/contacts/new")
def create_contact() -> ResponseReturnValue:
    """Make a contact; what is wrong is shown in the form."""
    given = typed()
    try:
        with db.transaction() as session:
            values = _loaded(session, given, {})
            made = directory.create(session, here().workspace_id, values)
    except (DomainError, ma.ValidationError) as error:
        return _form(None, given, problems(error)), 422
    return redirect(url_for("admin.contact", contact_id=made.id))


@blueprint.get("/contacts/<uuid:contact_id>/edit")
def edit_contact(contact_id: uuid.UUID) -> str:
    """Show the form with what is kept of a contact."""
    with db.transaction() as session:
        found = directory.get(session, here().workspace_id, contact_id)
        directory.require_present(found)
        kept = _kept(session, found)
    return _form(contact_id, kept)


@blueprint.post("/contacts/<uuid:contact_id>/edit")
def change_contact(contact_id: uuid.UUID) -> ResponseReturnValue:
    """Change a contact; what is wrong is shown in the form."""
    given = typed()
    try:
        with db.transaction() as session:
            found = directory.get(session, here().workspace_id, contact_id, lock=True)
            values = _loaded(session, given, _kept(session, found))
            directory.change(session, here().workspace_id, contact_id, values)
    except NotFound:
        raise
    except (DomainError, ma.ValidationError) as error:
        return _form(contact_id, given, problems(error)), 422
    return redirect(url_for("admin.contact", contact_id=contact_id))


def _kept(session: Session, contact: Contact) -> dict[str, str]:
    """Return what is kept of a contact, as the form has it."""
    kept = dump_contact(contact, directory.identities(session, [contact.id])[contact.id])
    shown = {name: str(kept[name] or "") for name in _PLAIN}
    values = {f"{_ATTRIBUTE}{name}": _shown(value) for name, value in contact.attributes.items()}
    return {**shown, **values, "tags": ", ".join(contact.tags)}


def _shown(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _loaded(session: Session, given: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, Any]:
    """Return what was changed, as the API would be asked: what somebody else changed meanwhile stays."""
    changed = {name: value for name, value in given.items() if value != kept.get(name, "")}
    values: dict[str, Any] = {name: changed[name] or None for name in _PLAIN if name in changed}
    if "tags" in changed:
        values["tags"] = words(changed["tags"])
    types = attributes.types(session, here().workspace_id)
    named = {name.removeprefix(_ATTRIBUTE): value for name, value in changed.items() if name.startswith(_ATTRIBUTE)}
    if given.get("new_name"):
        named[given["new_name"]] = given.get("new_value", "")
        types.setdefault(given["new_name"], _type(given.get("new_type", "")))
    if named:
        values["attributes"] = {name: _typed(value, types.get(name)) for name, value in named.items()}
    return ContactIn().load(values)


def _typed(value: str, type: AttributeType | None) -> Any:
    """Return a value in its type; what is none of it stays text, which is then refused in words."""
    if not value:
        return None
    if type is AttributeType.BOOLEAN:
        return {"true": True, "false": False}.get(value, value)
    return as_number(value) if type is AttributeType.NUMBER else value


def _type(name: str) -> AttributeType:
    return AttributeType(name) if name in set(AttributeType) else AttributeType.TEXT


def _form(contact_id: uuid.UUID | None, given: Mapping[str, str], found: list[FieldError] | None = None) -> str:
    with db.transaction() as session:
        return render_template(
            "admin/contact_form.html",
            contact=directory.get(session, here().workspace_id, contact_id) if contact_id else None,
            given=given,
            wrong=found or [],
            by_field={name.replace("attributes.", _ATTRIBUTE): text for name, text in by_field(found or []).items()},
            types=attributes.types(session, here().workspace_id),
            people=people(session, here().workspace_id),
        )
