"""An invariant: a sentence that must be true, and the query that finds what makes it false."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

# Work under way is no contradiction: what is younger may still be between two transactions.
SETTLED = timedelta(seconds=60)
MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Invariant:
    """`check` yields one line for each thing that contradicts the sentence and is older than the grace it is given."""

    name: str
    says: str
    check: Callable[[Session, timedelta], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What checking one invariant found."""

    name: str
    says: str
    violations: list[str]

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts it."""
        return not self.violations


def rows(session: Session, statement: str, **values: object) -> list[str]:
    """Return the first column of a query as lines."""
    return [str(row[0]) for row in session.execute(sa.text(statement), values)]
