"""How traces of a person are looked for: what has no index by person is gone through from one end to the other.

A step takes out a bounded part and says how many rows that was and where to go on; `stores` says what there is.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.predicates import like
from crm_tasks.core.db import changed, dumps
from crm_tasks.imports.bulk_models import Erasure
from crm_tasks.messages.models import ERASED

# Rows of one step: those of the person, and those among which they are looked for.
BATCH = 500
PAGE = 5_000
# What is shorter, an id or a name, is in too much that has nothing to do with the person.
SHORTEST = 5
SHORTEST_NAME = 3
FIRST = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose traces are looked for. `until` is the erasure's id: what came later is not of this person."""

    workspace_id: uuid.UUID
    contact_id: uuid.UUID
    until: uuid.UUID
    needles: Sequence[str]
    name: str

    def binds(self, **more: Any) -> dict[str, Any]:
        """Return the values that the statements here name."""
        return {
            "workspace_id": self.workspace_id,
            "contact_id": self.contact_id,
            "until": self.until,
            "bytes": [like(_escaped(each)) for each in self.needles],
            "texts": [like(each) for each in self.needles],
            "names": [like(each) for each in (*self.needles, self.name) if each],
            "digits": [like(each) for each in self.needles if each.isdigit()],
            "erased": dumps(ERASED),
            "batch": BATCH,
            "page": PAGE,
            **more,
        }


Counts = dict[str, int]
Step = Callable[[Session, Subject, Any], tuple[Counts, Any]]


@dataclass(frozen=True, slots=True)
class Trace:
    """Stores, what is done to their rows, and the step that does it: rows by store, and where to go on or None."""

    stores: Mapping[str, str]
    step: Step


def subject(erasure: Erasure) -> Subject:
    """Return whom an erasure is about."""
    wanted: Mapping[str, Any] = erasure.wanted or {}
    return Subject(erasure.workspace_id, erasure.contact_id, erasure.id, wanted["needles"], wanted["name"])


def _escaped(text: str) -> str:
    """Return a text as `encode(…, 'escape')` writes its bytes."""
    return "".join("\\\\" if b == 92 else chr(b) if b < 128 else f"\\{b:03o}" for b in text.encode())


def run(session: Session, statement: str, values: Mapping[str, Any]) -> sa.Result[Any]:
    """Execute a statement with those of the values that it names."""
    text = sa.text(statement)
    return session.execute(text, {name: values[name] for name in text.compile().params})


# --- what is gone through ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pages:
    """How a table is gone through: by a key that has an index, together with what narrows it."""

    table: str
    key: str = "id"
    first: Any = FIRST
    only: str = "true"
    # How many rows are a page.
    size: str = ":page"

    def last(self, session: Session, who: Subject, after: Any) -> Any:
        """Return the key that ends the next page; None behind the last."""
        page = f"SELECT {self.key} AS key FROM {self.table} WHERE {self.only} AND {self.key} > :after"  # noqa: S608
        query = f"SELECT key FROM ({page} ORDER BY 1 LIMIT {self.size}) p ORDER BY 1 DESC LIMIT 1"  # noqa: S608
        return run(session, query, who.binds(after=after)).scalar()


Clean = Callable[[Session, dict[str, Any]], Counts]


def by(store: str, statement: str) -> Clean:
    """Return what cleans a page with one statement."""
    return lambda session, values: {store: changed(run(session, statement, values))}


def trace(stores: Mapping[str, str], pages: Pages, clean: Clean) -> Trace:
    """Return the trace of a table that is gone through."""
    return Trace(stores, partial(_scan, pages, clean))


def _scan(pages: Pages, clean: Clean, session: Session, who: Subject, after: Any) -> tuple[Counts, Any]:
    after = pages.first if after is None else after
    last = pages.last(session, who, after)
    if last is None:
        return {}, None
    return clean(session, who.binds(after=after, last=last)), str(last)
