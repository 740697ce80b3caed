"""What becomes of one person of a campaign. Rehearsal and pump ask the same function, so that both say the same."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.service.rendering import Missing, Person, render
from crm_tasks.contacts.models import Contact
from crm_tasks.messages.service import gates
from crm_tasks.messages.service.gates import Finding
from crm_tasks.messages.service.look import Look


class Outcome(StrEnum):
    """What becomes of a recipient; all but the first are reasons not to send, or not yet."""

    WILL_BE_SENT = "will_be_sent"
    DUPLICATE = "duplicate"
    NO_IDENTITY = "no_identity"
    OPTED_OUT = "opted_out"
    CAPPED = "capped"
    QUIET_HOURS = "quiet_hours"
    WINDOW_CLOSED = "window_closed"
    MISSING_PARAMETER = "missing_parameter"
    TEMPLATE_STOPPED = "template_stopped"
    HUMAN_TOOK_OVER = "human_took_over"
    OVER_BUDGET = "over_budget"
    HELD = "held"


# The rules of the last look by the names that people know them by here.
OUTCOMES: dict[str, Outcome] = {
    "suppressed": Outcome.OPTED_OUT,
    "frequency_cap": Outcome.CAPPED,
    "budget": Outcome.OVER_BUDGET,
    "hold": Outcome.HELD,
    **{str(outcome): outcome for outcome in Outcome},
}
# Put off and not refused: sent later, as forecast.
LATER = (Outcome.CAPPED, Outcome.QUIET_HOURS, Outcome.OVER_BUDGET, Outcome.HELD, Outcome.TEMPLATE_STOPPED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a person: the content if it is sent, else why not."""

    outcome: Outcome
    content: dict[str, Any] | None = None
    finding: Finding | None = None


def outcome_of(rule: str) -> Outcome:
    """Return what a rule's finding means for a recipient."""
    if rule.startswith("template_"):
        return Outcome.TEMPLATE_STOPPED
    return OUTCOMES[rule]


def judge(session: Session, seen: Look, content: Mapping[str, Any], person: Person) -> Verdict:
    """Say what becomes of a person, now: what is final comes first, then what puts it off."""
    found = gates.findings(session, seen)
    if found and found[0].until is None:
        return Verdict(outcome_of(found[0].rule), finding=found[0])
    if seen.address() is None:
        return Verdict(Outcome.NO_IDENTITY, finding=_no_identity(seen))
    said = render(content, person)
    if isinstance(said, Missing):
        return Verdict(Outcome.MISSING_PARAMETER, finding=_missing(said))
    if found:
        return Verdict(outcome_of(found[0].rule), said, found[0])
    return Verdict(Outcome.WILL_BE_SENT, said)


def _no_identity(seen: Look) -> Finding:
    kinds = ", ".join(seen.provider.reaches)
    return Finding("no_identity", "no way to reach this person", kinds, "the channel", remedy="add one to the contact")


def _missing(said: Missing) -> Finding:
    remedy = f"give the contact a value, or write {{{{{said.name}|…}}}}"
    return Finding(
        "missing_parameter", f"no value for {said.name}", "a value or a fallback", "the message", None, remedy
    )


def people(session: Session, looks: Iterable[Look]) -> dict[uuid.UUID, Person]:
    """Return what may be said to each of them of themselves, in one statement."""
    identities = {each.row.contact_id: each.identities for each in looks}
    columns = (Contact.id, Contact.name, Contact.username, Contact.locale, Contact.external_id, Contact.attributes)
    query = sa.select(*columns).where(Contact.id == sa.any_(sa.cast(list(identities), sa.ARRAY(sa.Uuid()))))
    found = {}
    for row in session.execute(query):
        own = {name: identities[row.id].get(name) for name in ("phone", "email")}
        fields = {name: getattr(row, name) for name in ("name", "username", "locale", "external_id")}
        found[row.id] = Person({**own, **fields}, row.attributes)
    return found
