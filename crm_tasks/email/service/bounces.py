"""What mail servers and readers say against an address, and when it is enough to write there no more."""

import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import Identity, IdentityKind, SuppressionScope
from crm_tasks.core.db import now
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.email.models import EmailBounce, Verdict
from crm_tasks.messages.models import Message

log = get_logger(__name__)

WITHIN = timedelta(days=7)
# From how many messages within a week: nobody there at once; a mailbox that is off may be on again tomorrow; a full one
# is emptied some day.
_ENOUGH = {Verdict.BOUNCED: 1, Verdict.DISABLED: 2, Verdict.FULL: 5, Verdict.COMPLAINED: 1}
_REASONS = {
    Verdict.BOUNCED: "hard_bounce",
    Verdict.DISABLED: "mailbox_disabled",
    Verdict.FULL: "mailbox_full",
    Verdict.COMPLAINED: "complaint",
}


def note(
    session: Session,
    message: Message,
    address: str,
    verdict: str,
    *,
    detail: str,
    event_id: uuid.UUID | None = None,
    at: datetime | None = None,
) -> None:
    """Keep one word against an address, and suppress it if that makes enough of them. Said again, it changes nothing.

    Args:
        verdict: one of `Verdict`; a provider's other words are no matter of an address.
    """
    if verdict not in set(Verdict):
        return
    what, address = Verdict(verdict), address.strip().lower()
    moment = at or session.scalars(sa.select(now())).one()
    # Two bounces at once: one after the other, so that the second counts the first.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"bounce:{address}"))))
    statement = insert(EmailBounce).values(
        id=new_id(),
        workspace_id=message.workspace_id,
        address=address,
        verdict=what,
        message_id=message.id,
        event_id=event_id,
        detail=detail[:500],
        occurred_at=moment,
    )
    new = statement.on_conflict_do_nothing(index_elements=["message_id", "verdict"]).returning(EmailBounce.id)
    if session.scalar(new) is None or _count(session, message.workspace_id, address, what, moment) < _ENOUGH[what]:
        return
    evidence = {"message_id": str(message.id), "event_id": str(event_id) if event_id else None, "said": detail[:500]}
    suppression.suppress(
        session,
        message.workspace_id,
        address,
        medium="email",
        scope=SuppressionScope.ALL,
        reason=_REASONS[what],
        actor="mail server" if what is not Verdict.COMPLAINED else "reader",
        evidence=evidence,
        at=moment,
    )
    if what is not Verdict.COMPLAINED:
        _mark(session, message.workspace_id, address, _REASONS[what], moment)
    log.info("email.suppressed", message_id=str(message.id), reason=_REASONS[what])


def _count(session: Session, workspace_id: uuid.UUID, address: str, what: Verdict, moment: datetime) -> int:
    query = sa.select(sa.func.count()).where(
        EmailBounce.workspace_id == workspace_id,
        EmailBounce.address == address,
        EmailBounce.verdict == what,
        EmailBounce.occurred_at > moment - WITHIN,
    )
    return session.scalars(query).one()


def _mark(session: Session, workspace_id: uuid.UUID, address: str, reason: str, at: datetime) -> None:
    """Let whoever looks at the contact see that this address is dead."""
    session.execute(
        sa.update(Identity)
        .where(
            Identity.workspace_id == workspace_id,
            Identity.kind == IdentityKind.EMAIL,
            Identity.value == address,
            Identity.retired_at.is_(None),
            Identity.unreachable_at.is_(None),
        )
        .values(unreachable_at=at, unreachable_reason=reason)
        .execution_options(synchronize_session=False)
    )
