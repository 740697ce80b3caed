"""What can be exported: of each kind its columns, how many rows there are, and the rows page by page.

A page is a transaction of its own and begins behind the last row of the one before: no snapshot is held for minutes,
and no page costs more than the first. What changes meanwhile is as it was when its page was read.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts.models import Identity, IdentityKind, Suppression
from crm_tasks.core.db import transaction
from crm_tasks.core.types import id_floor
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

PAGE = 2_000
# Ids count from it; nothing is older.
_EPOCH = datetime.fromtimestamp(0, UTC)
Row = Sequence[Any]
# Rows, and behind what the next page begins.
Page = tuple[Sequence[Row], Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What is exported: everything of a workspace that is older than the export and passes its filters."""

    export_id: uuid.UUID
    workspace_id: uuid.UUID
    filters: Mapping[str, Any]
    # Those of the file, from its first row to its last.
    columns: Sequence[str] = ()

    def id_in(self, name: str) -> uuid.UUID | None:
        """Return an id among the filters."""
        value = self.filters.get(name)
        return uuid.UUID(value) if value else None

    def moment(self, name: str) -> datetime | None:
        """Return a moment among the filters."""
        value = self.filters.get(name)
        return max(datetime.fromisoformat(value), _EPOCH) if value else None

    def made_between(self, column: Any) -> list[sa.ColumnElement[bool]]:
        """Return the conditions that a row was made since one moment and before another, by its id."""
        since, until = self.moment("since"), self.moment("until")
        last = min(id_floor(until), self.export_id) if until else self.export_id
        return [column < last, *([column >= id_floor(since)] if since else [])]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `page` is asked with None first, and with what it returned until it returns no more rows."""

    columns: Callable[[Session, uuid.UUID], list[str]]
    count: Callable[[Session, Order], int]
    page: Callable[[Session, Order, Any], Page]

    def pages(self, order: Order) -> Iterator[Sequence[Row]]:
        """Yield the rows page by page."""
        after = None
        while True:
            with transaction() as session:
                rows, after = self.page(session, order, after)
            if not rows:
                return
            yield rows


def counted(session: Session, *conditions: sa.ColumnElement[bool], of: Any) -> int:
    """Return how many rows of a table meet conditions."""
    return session.scalar(sa.select(sa.func.count()).select_from(of).where(*conditions)) or 0


def channels(session: Session, order: Order) -> dict[uuid.UUID, Channel]:
    """Return the channels of the workspace by id."""
    return {each.id: each for each in workspaces.channels(session, order.workspace_id)}


# --- by what people are reached ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """By what a person is reached: the oldest number and address in use, and all there is beside them."""

    phone: str | None = None
    email: str | None = None
    others: Sequence[str] = ()
    refused: Sequence[str] = ()


NOBODY = Names()


def names(session: Session, workspace_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID | None, Names]:
    """Return how contacts are reached, and what they have refused, such as `whatsapp:marketing`."""
    query = sa.select(Identity.contact_id, Identity.kind, Identity.value).where(
        Identity.contact_id == sa.any_(sa.cast(list(ids), sa.ARRAY(sa.Uuid()))), Identity.retired_at.is_(None)
    )
    of: dict[uuid.UUID, list[tuple[IdentityKind, str]]] = {}
    for contact_id, kind, value in session.execute(query.order_by(Identity.id)):
        of.setdefault(contact_id, []).append((kind, value))
    refused = _refused(session, workspace_id, [value for each in of.values() for _, value in each])
    return {None: NOBODY, **{contact_id: _named(found, refused) for contact_id, found in of.items()}}


def _named(found: Sequence[tuple[IdentityKind, str]], refused: Mapping[str, Sequence[str]]) -> Names:
    phone = next((value for kind, value in found if kind is IdentityKind.PHONE), None)
    email = next((value for kind, value in found if kind is IdentityKind.EMAIL), None)
    # A WhatsApp id is the digits of a number, and says nothing beside it.
    known = {phone, email, *(value.lstrip("+") for kind, value in found if kind is IdentityKind.PHONE)}
    others = [value for _, value in found if value not in known]
    words = sorted({each for _, value in found for each in refused.get(value, ())}) if refused else ()
    return Names(phone, email, others, words)


def _refused(session: Session, workspace_id: uuid.UUID, addresses: Sequence[str]) -> dict[str, list[str]]:
    query = sa.select(Suppression.address, Suppression.medium, Suppression.scope).where(
        Suppression.workspace_id == workspace_id,
        Suppression.address == sa.any_(sa.cast(list(addresses), sa.ARRAY(sa.Text()))),
        Suppression.active,
    )
    found: dict[str, list[str]] = {}
    for address, medium, scope in session.execute(query):
        found.setdefault(address, []).append(f"{medium}:{scope}")
    return found
