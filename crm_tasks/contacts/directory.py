"""Contacts as people keep them: made, looked at, changed, found. A name on a channel is one person's at a time."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import attributes
from crm_tasks.contacts import service as contacts
from crm_tasks.contacts.models import Contact, Identity, IdentityKind
from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.providers.mail import compose
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Membership
from crm_tasks.workspaces.phones import e164

# What is kept as it comes; identities and attributes have rules of their own.
_PLAIN = ("tags", "external_id", "assigned_to", "time_zone", "locale")
_NAMES = ("phone", "email", "bsuid")
# Which identities stand and fall with each of these: a WhatsApp id is the digits of a phone number.
_KINDS = {
    "phone": (IdentityKind.PHONE, IdentityKind.WA_ID),
    "email": (IdentityKind.EMAIL,),
    "bsuid": (IdentityKind.BSUID,),
}


def get(session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, *, lock: bool = False) -> Contact:
    """Return a contact; of one that was erased only the id is left.

    Raises:
        NotFound: there is none of this id here.
    """
    contact = session.get(Contact, contact_id, with_for_update=lock, populate_existing=lock)
    if contact is None or contact.workspace_id != workspace_id:
        raise NotFound(f"There is no contact {contact_id}.", code="contact_not_found")
    return contact


def identities(session: Session, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[Identity]]:
    """Return the names of contacts, those in use first, the oldest first."""
    found: dict[uuid.UUID, list[Identity]] = {contact_id: [] for contact_id in ids}
    query = sa.select(Identity).where(Identity.contact_id.in_(found))
    for each in session.scalars(query.order_by(Identity.retired_at.is_not(None), Identity.id)):
        found[each.contact_id].append(each)
    return found


def create(session: Session, workspace_id: uuid.UUID, values: Mapping[str, Any]) -> Contact:
    """Make a contact; `values` as `ContactIn` reads them.

    Raises:
        Invalid: not a number or address, a value of a wrong type, no such user, or nothing to know the person by.
        Conflict: a number, address or id is another contact's, which is named.
    """
    names = _names(session, workspace_id, values)
    if not any(values.get(name) for name in (*_NAMES, "external_id", "name")):
        remedy = "Give at least one of: phone, email, bsuid, external_id, name."
        raise Invalid("There is nothing to know this person by.", fields=[FieldError("phone", remedy)])
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    _require_free(session, workspace_id, None, names, values, moment)
    contact = Contact(
        workspace_id=workspace_id,
        name=values.get("name"),
        profile_at=moment if values.get("name") else None,
        attributes=_without_none(attributes.checked(session, workspace_id, values.get("attributes", {}))),
        **_plain(session, workspace_id, values),
    )
    session.add(contact)
    session.flush()
    for key in list(names.keys()):
        contacts.add_identity(session, workspace_id, contact.id, key)
    session.refresh(contact)
    return contact


def change(session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, values: Mapping[str, Any]) -> Contact:
    """Change a contact. A new number takes the place of the old one, which may then become somebody else's.

    Raises:
        NotFound: no such contact. Invalid, Conflict: as for `create`. Conflict: it was erased.
    """
    contact = get(session, workspace_id, contact_id, lock=True)
    require_present(contact)
    names = _names(session, workspace_id, values)
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    _require_free(session, workspace_id, contact_id, names, values, moment)
    _rename(session, contact, names, values, moment)
    if "attributes" in values:
        wanted = attributes.checked(session, workspace_id, values["attributes"])
        contact.attributes = _without_none({**contact.attributes, **wanted})
    for name, value in _plain(session, workspace_id, values).items():
        setattr(contact, name, value)
    if "name" in values:
        contact.name, contact.profile_at = values["name"], moment
    contact.updated_at = moment
    session.flush()
    return contact


def require_present(contact: Contact) -> None:
    """Let pass who is not erased.

    Raises:
        Conflict: nothing is left of this person.
    """
    if contact.erased_at is not None:
        raise Conflict("This person was erased; nothing can be kept any more.", code="contact_erased")


def _rename(
    session: Session, contact: Contact, names: contacts.Names, values: Mapping[str, Any], moment: datetime
) -> None:
    """Give a contact the names asked for, and take those of their kinds away that are not."""
    wanted = names.keys()
    kinds = [kind for name in _NAMES if name in values for kind in _KINDS[name]]
    for each in identities(session, [contact.id])[contact.id]:
        if each.retired_at is not None or each.kind not in kinds:
            continue
        if (each.kind, each.value) in wanted:
            wanted.remove((each.kind, each.value))
        else:
            contacts.retire(session, contact.workspace_id, contact.id, (each.kind, each.value), moment)
    for key in wanted:
        contacts.add_identity(session, contact.workspace_id, contact.id, key)
    session.expire_all()


def _names(session: Session, workspace_id: uuid.UUID, values: Mapping[str, Any]) -> contacts.Names:
    phone, email = values.get("phone"), values.get("email")
    if phone:
        try:
            phone = e164(phone, workspaces.get(session, workspace_id).region)
        except Invalid as error:
            remedies = [FieldError("phone", each.message, each.code) for each in error.fields]
            raise Invalid(error.message, fields=remedies) from None
    if email:
        try:
            email = compose.normal(email)
        except ValueError as error:
            raise Invalid("This is not an e-mail address.", fields=[FieldError("email", str(error))]) from None
    return contacts.Names(phone=phone or None, email=email or None, bsuid=values.get("bsuid"))


def _require_free(
    session: Session,
    workspace_id: uuid.UUID,
    contact_id: uuid.UUID | None,
    names: contacts.Names,
    values: Mapping[str, Any],
    moment: datetime,
) -> None:
    """Refuse what is another's. Whose a free name becomes is decided by one request at a time."""
    for (kind, value), owner in contacts.whose(session, workspace_id, names.keys(), moment).items():
        if owner != contact_id:
            _refuse(session, owner, "phone" if kind is IdentityKind.WA_ID else kind, value)
    external_id = values.get("external_id")
    if external_id is not None:
        turn = sa.func.hashtext(f"{workspace_id}:external:{external_id}")
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(turn)))
        query = sa.select(Contact.id).where(Contact.workspace_id == workspace_id, Contact.external_id == external_id)
        known = session.scalar(query)
        if known is not None and known != contact_id:
            _refuse(session, known, "external_id", external_id)


def _refuse(session: Session, owner: uuid.UUID, field: str, value: str) -> None:
    name = session.scalar(sa.select(Contact.name).where(Contact.id == owner))
    who = f"contact {owner}" + (f" ({name})" if name else "")
    raise Conflict(
        f"{value} belongs to {who}.",
        code="identity_taken",
        hint=f"PATCH /contacts/{owner} changes that contact; take it away there first if it is not theirs.",
        fields=[FieldError(field, f"It belongs to {who}.", "taken")],
    )


def _plain(session: Session, workspace_id: uuid.UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: values[name] for name in _PLAIN if name in values}
    if found.get("assigned_to") is not None:
        require_user(session, workspace_id, found["assigned_to"], "assigned_to")
    return found


def require_user(session: Session, workspace_id: uuid.UUID, user_id: uuid.UUID, field: str) -> None:
    """Let pass who can look after contacts: who belongs to the workspace.

    Raises:
        Invalid: there is no such user here.
    """
    if session.get(Membership, (workspace_id, user_id)) is None:
        text = f"There is no user {user_id} in this workspace."
        raise Invalid(text, fields=[FieldError(field, "Give the id of a user of this workspace.")])


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
