"""Who does not want to be written to: one list for all channels, with evidence.

The newest word of a person counts, however late it comes; of two from the same moment the refusal does. Imports never
call this module: what a person has said is only taken back by a person.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.contacts import forgotten
from crm_tasks.contacts.models import ConsentEvent, Identity, IdentityKind, Suppression, SuppressionScope
from crm_tasks.core.db import now
from crm_tasks.core.errors import FieldError, Invalid
from crm_tasks.core.log import get_logger
from crm_tasks.core.text import storable
from crm_tasks.core.types import new_id
from crm_tasks.webhooks.models import EventType
from crm_tasks.webhooks.service.publishing import publish

log = get_logger(__name__)

MEDIA = ("whatsapp", "sms", "email", "*")
# By which identities a person is known to each medium. A WhatsApp id is the digits of a phone number, which stands for
# it in the list.
_KINDS = {
    "whatsapp": (IdentityKind.PHONE, IdentityKind.BSUID, IdentityKind.PARENT_BSUID),
    "sms": (IdentityKind.PHONE,),
    "email": (IdentityKind.EMAIL,),
    "*": (IdentityKind.PHONE, IdentityKind.BSUID, IdentityKind.PARENT_BSUID, IdentityKind.EMAIL),
}


def suppress(
    session: Session,
    workspace_id: uuid.UUID,
    address: str,
    *,
    medium: str,
    scope: SuppressionScope,
    reason: str,
    actor: str,
    evidence: Mapping[str, Any],
    at: datetime | None = None,
) -> None:
    """Write down that an address is not to be written to.

    Args:
        medium: `whatsapp`, `sms`, `email` or `*`.
        reason: a short word such as `keyword`, `one_click`, `api`, `hard_bounce`, `complaint`.
        at: when the person said so; now by default.

    Raises:
        Invalid: no address, or not a medium.
    """
    _note(session, workspace_id, address, medium, scope, reason, actor, evidence, at, active=True)


def allow(
    session: Session,
    workspace_id: uuid.UUID,
    address: str,
    *,
    medium: str,
    scope: SuppressionScope,
    reason: str,
    actor: str,
    evidence: Mapping[str, Any],
    at: datetime | None = None,
) -> None:
    """Write down that a person wants to be written to again; an older word than the refusal changes nothing."""
    _note(session, workspace_id, address, medium, scope, reason, actor, evidence, at, active=False)


def suppress_contact(
    session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, *, medium: str, **how: Any
) -> list[str]:
    """Suppress every address by which a contact is known to a medium, and return them."""
    found = addresses(session, contact_id, medium)
    for address in found:
        suppress(session, workspace_id, address, medium=medium, **how)
    return found


def allow_contact(
    session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID, *, medium: str, **how: Any
) -> list[str]:
    """Take back what a contact has refused on a medium, and return the addresses."""
    found = addresses(session, contact_id, medium)
    for address in found:
        allow(session, workspace_id, address, medium=medium, **how)
    return found


def addresses(session: Session, contact_id: uuid.UUID, medium: str) -> list[str]:
    """Return the addresses of a contact that a medium uses."""
    query = sa.select(Identity.value).where(
        Identity.contact_id == contact_id, Identity.retired_at.is_(None), Identity.kind.in_(_KINDS[medium])
    )
    return sorted(session.scalars(query))


def of_contact(session: Session, workspace_id: uuid.UUID, contact_id: uuid.UUID) -> list[Suppression]:
    """Return what is in force against a contact, whatever the medium."""
    values = sa.select(Identity.value).where(Identity.contact_id == contact_id, Identity.retired_at.is_(None))
    query = sa.select(Suppression).where(
        Suppression.workspace_id == workspace_id, Suppression.active, Suppression.address.in_(values)
    )
    return list(session.scalars(query.order_by(Suppression.id)))


def listed(
    session: Session,
    workspace_id: uuid.UUID,
    *,
    address: str | None = None,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[Suppression]:
    """Return suppressions in force, the newest first."""
    query = sa.select(Suppression).where(Suppression.workspace_id == workspace_id, Suppression.active)
    if address is not None:
        query = query.where(Suppression.address.in_(forgotten.spellings(session, workspace_id, _written(address))))
    if before is not None:
        query = query.where(Suppression.id < before)
    return list(session.scalars(query.order_by(Suppression.id.desc()).limit(limit)))


def history(session: Session, workspace_id: uuid.UUID, found: Iterable[str]) -> list[ConsentEvent]:
    """Return all that was said about these addresses, the newest first."""
    query = sa.select(ConsentEvent).where(ConsentEvent.workspace_id == workspace_id, ConsentEvent.address.in_(found))
    return list(session.scalars(query.order_by(ConsentEvent.occurred_at.desc(), ConsentEvent.id.desc()).limit(200)))


def _note(
    session: Session,
    workspace_id: uuid.UUID,
    address: str,
    medium: str,
    scope: SuppressionScope,
    reason: str,
    actor: str,
    evidence: Mapping[str, Any],
    at: datetime | None,
    *,
    active: bool,
) -> None:
    if medium not in MEDIA:
        raise Invalid(f"{medium!r} is not a medium.", fields=[FieldError("medium", f"Use one of: {', '.join(MEDIA)}.")])
    address = _written(address)
    if not address:
        raise Invalid("There is no address.", fields=[FieldError("address", "Give a phone number or e-mail address.")])
    moment: datetime = at or session.scalar(sa.select(now()))  # type: ignore[assignment]
    shared: dict[str, Any] = {
        "workspace_id": workspace_id,
        "medium": medium,
        "address": address,
        "scope": scope,
        "reason": reason,
        "actor": actor,
        "evidence": storable(dict(evidence)),
    }
    session.execute(insert(ConsentEvent).values(id=new_id(), allowed=not active, occurred_at=moment, **shared))
    statement = insert(Suppression).values(id=new_id(), active=active, changed_at=moment, **shared)
    newer = sa.or_(
        Suppression.changed_at < statement.excluded.changed_at,
        sa.and_(Suppression.changed_at == statement.excluded.changed_at, statement.excluded.active),
    )
    changed = session.execute(
        statement.on_conflict_do_update(
            index_elements=["workspace_id", "address", "medium", "scope"],
            set_={name: statement.excluded[name] for name in ("active", "changed_at", "reason", "actor", "evidence")},
            where=newer,
        ).returning(Suppression.id)
    ).first()
    if changed is not None and active:
        data = {name: shared[name] for name in ("address", "medium", "scope", "reason")}
        publish(session, workspace_id, EventType.CONTACT_OPTED_OUT, data, at=moment)
    log.info("consent.noted", medium=medium, scope=scope, active=active, reason=reason, actor=actor)


def _written(address: str) -> str:
    address = address.strip()
    return address.lower() if "@" in address else address
