"""Checks every invariant and says what was found."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

from crm_tasks.core import db
from crm_tasks.prove import broker, campaigns, conversations, events, ledger, outside, webhooks
from crm_tasks.prove.invariant import SETTLED, Finding, Invariant

_MOST = 1_000


def everything(sandbox: str | None = None) -> tuple[Invariant, ...]:
    """Return all invariants; with a sandbox's URL, also those between us and its log."""
    rooms = (ledger, broker, events, conversations, campaigns, webhooks)
    own = tuple(invariant for room in rooms for invariant in room.INVARIANTS)
    return own + (outside.invariants(sandbox) if sandbox else ())


def prove(sandbox: str | None = None, *, grace: timedelta = SETTLED) -> Iterator[Finding]:
    """Check one invariant after the other, each in a transaction of its own; `grace` excuses what is younger."""
    for invariant in everything(sandbox):
        with db.transaction() as session:
            violations = list(islice(invariant.check(session, grace), _MOST))
        yield Finding(invariant.name, invariant.says, violations)
