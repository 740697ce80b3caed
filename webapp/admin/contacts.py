"""Contacts: found, looked at with all that is known of them, told apart by what they want, erased."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks.contacts import attributes, directory, search, segments, suppression
from crm_tasks.contacts.models import Contact, Identity, SuppressionScope
from crm_tasks.contacts.schemas import dump_contact
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, Invalid, NotFound
from crm_tasks.imports import erasing
from crm_tasks.messages.service import history
from crm_tasks.workspaces import members
from crm_tasks.workspaces import service as workspaces
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import asked, problems, typed
from webapp.admin.lists import before

SHOWN, TOLD = 50, 20
MOST_NOTE = 1_000
# What has to be typed before a person is erased.
ERASE = "erase"


@blueprint.get("/contacts")
def contacts() -> str:
    """List contacts, the newest first, or those who are looked for."""
    me, wanted = here(), asked("q", "tag", "segment_id")
    with db.transaction() as session:
        found = search.listed(
            session,
            me.workspace_id,
            q=wanted["q"][: search.LONGEST],
            tag=wanted["tag"],
            conditions=_conditions(session, wanted),
            before=before(),
            limit=SHOWN + 1,
        )
        shown = found[:SHOWN]
        return render_template(
            "admin/contacts.html",
            contacts=shown,
            named=directory.identities(session, [each.id for each in shown]),
            people=people(session, me.workspace_id),
            segments=segments.listed(session, me.workspace_id, limit=200),
            more=found[SHOWN - 1].id if len(found) > SHOWN else None,
            asked=wanted,
        )


@blueprint.get("/contacts/<uuid:contact_id>")
def contact(contact_id: uuid.UUID) -> str:
    """Show one: names, attributes, what the person wants, what was said."""
    return _page(contact_id)


@blueprint.post("/contacts/<uuid:contact_id>/consent")
def note_consent(contact_id: uuid.UUID) -> ResponseReturnValue:
    """Write down what a person wants or refuses, with how it was made known."""
    form, me = typed(), here()
    how = {
        "medium": form.get("medium", ""),
        "reason": "told",
        "actor": me.actor,
        "evidence": {"note": form.get("note", "")[:MOST_NOTE]},
    }
    write = suppression.allow_contact if form.get("allowed") == "yes" else suppression.suppress_contact
    try:
        with db.transaction() as session:
            directory.require_present(directory.get(session, me.workspace_id, contact_id))
            write(session, me.workspace_id, contact_id, **_checked(how), scope=_scope(form.get("scope", "")))
    except NotFound:
        raise
    except DomainError as error:
        return _page(contact_id, consent_problems=problems(error)), 422
    return redirect(url_for("admin.contact", contact_id=contact_id, _anchor="consent"))


@blueprint.post("/contacts/<uuid:contact_id>/erase")
def erase(contact_id: uuid.UUID) -> ResponseReturnValue:
    """Erase a person: at once nobody finds or reaches them, then every store is gone through."""
    if typed().get("confirm", "").lower() != ERASE:
        text = f"Type {ERASE} to say that you mean it: nothing of it can be brought back."
        return _page(contact_id, erase_problem=text), 422
    with db.transaction() as session:
        erasing.begin(session, here().workspace_id, contact_id, actor=here().actor)
    return redirect(url_for("admin.contact", contact_id=contact_id))


def people(session: Session, workspace_id: uuid.UUID) -> dict[uuid.UUID, str]:
    """Return who can look after contacts, by id."""
    return {user.id: user.email for user, _ in members.listed(session, workspace_id)}


def _conditions(session: Session, wanted: dict[str, str]) -> list[sa.ColumnElement[bool]]:
    if not wanted["segment_id"]:
        return []
    workspace_id = here().workspace_id
    segment = segments.get(session, workspace_id, _id(wanted["segment_id"]))
    return [segments.compile(session, workspace_id, segment.conditions)]


def _page(contact_id: uuid.UUID, **more: Any) -> str:
    me = here()
    with db.transaction() as session:
        found = directory.get(session, me.workspace_id, contact_id)
        named = directory.identities(session, [contact_id])[contact_id]
        return render_template(
            "admin/contact.html",
            contact=found,
            identities=named,
            kept=dump_contact(found, named),
            types=attributes.types(session, me.workspace_id),
            people=people(session, me.workspace_id),
            erasure=erasing.of_contact(session, contact_id) if found.erased_at else None,
            channels={each.id: each for each in workspaces.channels(session, me.workspace_id)},
            media=suppression.MEDIA,
            **_said(session, found, named),
            **more,
        )


def _said(session: Session, contact: Contact, named: list[Identity]) -> dict[str, Any]:
    """Return what a person wants, and what was said."""
    addresses = sorted({each.value for each in named})
    return {
        "refused": suppression.of_contact(session, contact.workspace_id, contact.id),
        "consent": suppression.history(session, contact.workspace_id, addresses),
        "conversations": history.conversations(session, contact.workspace_id, contact_id=contact.id),
        "messages": history.of_contact(session, contact.id, limit=TOLD),
    }


def _checked(how: dict[str, Any]) -> dict[str, Any]:
    if how["medium"] not in suppression.MEDIA:
        raise Invalid("This is not a medium.", fields=[FieldError("medium", "Choose one of the list.")])
    if not how["evidence"]["note"]:
        remedy = "Say how the person made this known: others will ask."
        raise Invalid(remedy, fields=[FieldError("note", remedy)])
    return how


def _scope(name: str) -> SuppressionScope:
    try:
        return SuppressionScope(name)
    except ValueError:
        raise Invalid("Choose marketing or all.", fields=[FieldError("scope", "Choose one of the list.")]) from None


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound("There is no such segment.", code="segment_not_found") from None
