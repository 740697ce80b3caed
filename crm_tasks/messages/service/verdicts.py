"""What a provider's word about a message says about its person, and what follows from it.

An address that takes nothing, a complaint and an opt-out go to the list of suppressions; whom this channel cannot
reach may be reached by the next one.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.messages.models import Message, MessageState
from crm_tasks.messages.service import fallback, outbox

# The verdicts that speak against any further message, and the reason that the list gives.
REASONS = {"bounced": "hard_bounce", "complained": "complaint", "unsubscribed": "unsubscribed"}
_ELSEWHERE = ("bounced", "unreachable")


def heed(session: Session, message: Message, row: Mapping[str, Any]) -> None:
    """Do what follows from a report, which is heeded once; `row` is what is kept of it."""
    verdict = row["detail"].get("verdict")
    if verdict in REASONS:
        evidence = {"message_id": str(message.id), "event_id": str(row["event_id"])}
        suppress(session, message, verdict, evidence=evidence, address=row["recipient"], at=row["occurred_at"])
    if verdict in _ELSEWHERE and row["status"] == message.state == MessageState.FAILED:
        fallback.take(session, message)


def suppress(
    session: Session,
    message: Message,
    verdict: str,
    *,
    evidence: Mapping[str, Any],
    address: str = "",
    at: datetime | None = None,
) -> None:
    """Write down that whom a message went to takes no more by this medium; does nothing for any other verdict.

    Args:
        address: where it went, if the provider says so. Mail is passed on: one that is not the contact's own says
            nothing, and all of the contact's by this medium count.
    """
    if verdict not in REASONS or message.contact_id is None:
        return
    provider = outbox.provider_of(session, message)
    own = suppression.addresses(session, message.contact_id, provider.medium)
    for each in [address] if address in own else own:
        suppression.suppress(
            session,
            message.workspace_id,
            each,
            medium=provider.medium,
            scope=SuppressionScope.ALL,
            reason=REASONS[verdict],
            actor=f"provider:{provider.kind}",
            evidence=evidence,
            at=at,
        )
