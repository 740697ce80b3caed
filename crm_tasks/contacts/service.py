"""Finding people by the names that channels give them, and keeping those names true.

Two contacts that turn out to be one person are flagged and never merged by a machine: the old number may belong to
somebody else by now.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.contacts import forgotten
from crm_tasks.contacts.models import Contact, Identity, IdentityKind
from crm_tasks.core.types import new_id

Key = tuple[IdentityKind, str]
# A number leads, as people know each other by it; then the ids that only this business sees.
_LEADING = (
    IdentityKind.WA_ID,
    IdentityKind.PHONE,
    IdentityKind.BSUID,
    IdentityKind.PARENT_BSUID,
    IdentityKind.EMAIL,
)
# What a person can give up and somebody else can get.
_RECYCLED = (IdentityKind.WA_ID, IdentityKind.PHONE)
# What only WhatsApp reaches; a phone number may still take a text message.
_ON_WHATSAPP = (IdentityKind.WA_ID, IdentityKind.BSUID, IdentityKind.PARENT_BSUID)
_TURNS = sa.text("SELECT pg_advisory_xact_lock(hashtext(name)) FROM unnest(cast(:names AS text[])) AS name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of one person, as one event or request gives them."""

    phone: str | None = None
    wa_id: str | None = None
    bsuid: str | None = None
    parent_bsuid: str | None = None
    email: str | None = None
    name: str | None = None
    username: str | None = None

    def keys(self) -> list[Key]:
        """Return the identities named, the leading first. A WhatsApp id is the digits of a phone number."""
        wa_id = self.wa_id or (self.phone.removeprefix("+") if self.phone else None)
        phone = self.phone or (f"+{self.wa_id}" if self.wa_id else None)
        given = {
            IdentityKind.WA_ID: wa_id,
            IdentityKind.PHONE: phone,
            IdentityKind.BSUID: self.bsuid,
            IdentityKind.PARENT_BSUID: self.parent_bsuid,
            IdentityKind.EMAIL: self.email,
        }
        return [(kind, value) for kind in _LEADING if (value := given[kind])]


def resolve(session: Session, workspace_id: uuid.UUID, names: Names, *, at: datetime) -> uuid.UUID:
    """Return the contact of this name, made if there is none; what the event newly tells about it is kept.

    Args:
        at: when the event happened: a number given up later still meant the earlier person then.
    """
    keys = names.keys()
    found = whose(session, workspace_id, keys, at)
    contact_id = _leading(keys, found)
    if contact_id is None:
        return _create(session, workspace_id, names, keys, at)
    _gather(session, workspace_id, contact_id, keys, found)
    _update_profile(session, contact_id, names, at)
    return contact_id


def learn(
    session: Session,
    workspace_id: uuid.UUID,
    contact_id: uuid.UUID,
    *,
    wa_id: str | None,
    bsuid: str | None,
    at: datetime,
) -> None:
    """Add names by which a provider routes to a contact; one that is another's already stays there."""
    keys = Names(bsuid=bsuid).keys() + ([(IdentityKind.WA_ID, wa_id)] if wa_id else [])
    found = whose(session, workspace_id, keys, at)
    for key in keys:
        if key not in found:
            add_identity(session, workspace_id, contact_id, key)


def change_identity(
    session: Session, workspace_id: uuid.UUID, before: Names, after: Names, *, at: datetime
) -> uuid.UUID | None:
    """Give a contact its new number or user id, and return the contact.

    The old number is retired at `at`: later events from it are somebody else's. If the new one belongs to another
    contact already, both stay as they are and ours is flagged.
    """
    old, new = before.keys(), after.keys()
    if not old and not new:
        return None
    found, taken = whose(session, workspace_id, old, at), whose(session, workspace_id, new, at)
    contact_id = _leading(old, found) or _leading(new, taken)
    if contact_id is None:
        contact_id = _create(session, workspace_id, before, [], at)
    for key in new:
        if key not in taken:
            add_identity(session, workspace_id, contact_id, key)
        elif taken[key] != contact_id:
            _flag(session, contact_id, taken[key])
    replaced = {kind for kind, _ in new}
    given_up = [key for key in old if key[0] in _RECYCLED and key[0] in replaced and key not in new]
    _gather(session, workspace_id, contact_id, [key for key in old if key not in new], found)
    for key in given_up:
        retire(session, workspace_id, contact_id, key, at)
    return contact_id


def mark_unreachable(session: Session, contact_id: uuid.UUID, *, reason: str, at: datetime) -> None:
    """Mark the names by which WhatsApp knows a contact: messages do not arrive. An older failure changes nothing."""
    _set_reach(
        session,
        sa.and_(
            Identity.contact_id == contact_id,
            Identity.kind.in_(_ON_WHATSAPP),
            Identity.retired_at.is_(None),
            sa.or_(Identity.unreachable_at.is_(None), Identity.unreachable_at < at),
        ),
        at,
        reason,
    )


def heard_from(session: Session, contact_id: uuid.UUID, *, at: datetime) -> None:
    """Take marks off a contact that has written since: who writes can be reached."""
    _set_reach(session, sa.and_(Identity.contact_id == contact_id, Identity.unreachable_at <= at), None, None)


def _set_reach(session: Session, condition: sa.ColumnElement[bool], at: datetime | None, reason: str | None) -> None:
    statement = sa.update(Identity).where(condition).values(unreachable_at=at, unreachable_reason=reason)
    session.execute(statement.execution_options(synchronize_session=False))


def whose(session: Session, workspace_id: uuid.UUID, keys: list[Key], at: datetime) -> dict[Key, uuid.UUID]:
    """Return who had which of these names. Whose a name becomes that nobody has, is decided by one at a time."""
    found = _find(session, workspace_id, keys, at)
    missing = [key for key in keys if key not in found]
    if missing:
        take_turns(session, workspace_id, missing)
        found = _find(session, workspace_id, keys, at)
    return found


def take_turns(session: Session, workspace_id: uuid.UUID, keys: list[Key]) -> None:
    """Wait until nobody else decides whose these names become; others wait until this transaction ends."""
    names = [f"{workspace_id}:{kind}:{value}" for kind, value in sorted(keys)]
    session.execute(_TURNS, {"names": names})


def _leading(keys: list[Key], found: dict[Key, uuid.UUID]) -> uuid.UUID | None:
    return next((found[key] for key in keys if key in found), None)


def _gather(
    session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, keys: list[Key], found: dict[Key, uuid.UUID]
) -> None:
    """Let a contact have all of these names."""
    for key in keys:
        if key not in found:
            add_identity(session, workspace_id, contact_id, key)
        elif found[key] != contact_id:
            _follow_phone(session, workspace_id, key, contact_id, found[key])


def _find(session: Session, workspace_id: uuid.UUID, keys: list[Key], at: datetime) -> dict[Key, uuid.UUID]:
    if not keys:
        return {}
    columns = (Identity.kind, Identity.value, Identity.contact_id, Identity.retired_at)
    named = sa.select(*columns).where(
        Identity.workspace_id == workspace_id, sa.tuple_(Identity.kind, Identity.value).in_(keys)
    )
    # Two queries in one, as each of the two indexes is of those in force or of the retired: with OR neither is used.
    query = sa.union_all(
        named.where(Identity.retired_at.is_(None)),
        named.where(Identity.retired_at.is_not(None), Identity.retired_at >= at),
    ).order_by(sa.text("retired_at DESC NULLS FIRST"))
    # A retired one that was still valid then comes last and wins.
    return {(kind, value): contact_id for kind, value, contact_id, _ in session.execute(query)}


def _create(session: Session, workspace_id: uuid.UUID, names: Names, keys: list[Key], at: datetime) -> uuid.UUID:
    contact_id = new_id()
    session.execute(
        insert(Contact).values(
            id=contact_id,
            workspace_id=workspace_id,
            name=names.name,
            username=names.username,
            profile_at=at if names.name or names.username else None,
        )
    )
    for key in keys:
        add_identity(session, workspace_id, contact_id, key)
    return contact_id


def add_identity(session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, key: Key) -> None:
    """Give a contact a name that is nobody's; what its owner has refused before being erased is in force again."""
    kind, value = key
    statement = insert(Identity).values(
        id=new_id(), workspace_id=workspace_id, contact_id=contact_id, kind=kind, value=value
    )
    session.execute(
        statement.on_conflict_do_nothing(
            index_elements=["workspace_id", "kind", "value"], index_where=sa.text("retired_at IS NULL")
        )
    )
    forgotten.recognise(session, workspace_id, [value])


def _follow_phone(
    session: Session, workspace_id: uuid.UUID, key: Key, contact_id: uuid.UUID, other_id: uuid.UUID
) -> None:
    """One event names two contacts: the one with the phone goes on, takes the other's id, and the other is flagged."""
    kind, value = key
    session.execute(
        sa.update(Identity)
        .where(
            Identity.workspace_id == workspace_id,
            Identity.kind == kind,
            Identity.value == value,
            Identity.retired_at.is_(None),
        )
        .values(contact_id=contact_id)
        .execution_options(synchronize_session=False)
    )
    _flag(session, other_id, contact_id)


def _flag(session: Session, contact_id: uuid.UUID, duplicate_of: uuid.UUID) -> None:
    session.execute(
        sa.update(Contact)
        .where(Contact.id == contact_id, Contact.duplicate_of.is_distinct_from(duplicate_of))
        .values(duplicate_of=duplicate_of)
        .execution_options(synchronize_session=False)
    )


def retire(session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, key: Key, at: datetime) -> None:
    """Take a name from a contact: from that moment on it may be somebody else's."""
    kind, value = key
    session.execute(
        sa.update(Identity)
        .where(
            Identity.workspace_id == workspace_id,
            Identity.contact_id == contact_id,
            Identity.kind == kind,
            Identity.value == value,
            Identity.retired_at.is_(None),
        )
        .values(retired_at=at)
        .execution_options(synchronize_session=False)
    )


def _update_profile(session: Session, contact_id: uuid.UUID, names: Names, at: datetime) -> None:
    """Keep the newest profile, whole; of two from the same second the greater, so that order does not matter."""
    if not names.name and not names.username:
        return
    profile = sa.tuple_(sa.func.coalesce(Contact.name, ""), sa.func.coalesce(Contact.username, ""))
    newer = sa.or_(
        Contact.profile_at.is_(None),
        Contact.profile_at < at,
        sa.and_(Contact.profile_at == at, profile < (names.name or "", names.username or "")),
    )
    session.execute(
        sa.update(Contact)
        .where(Contact.id == contact_id, Contact.erased_at.is_(None), newer)
        .values(name=names.name, username=names.username, profile_at=at)
        .execution_options(synchronize_session=False)
    )
