"""Lists of contacts and the search in them, the newest first; each page is quick however many there are.

How many fit a word is what Postgres guesses worst, and a plan that is right for a rare word is wrong for a common one.
So the search tries what is cheap in any case: first an index, of parts or of tags, of which it takes so many and no
more, in any order; if there are more, then the newest contacts, among which a common word is soon found; and only then
all. A tag alone is searched for in the same way.
"""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import audience, segments
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.contacts.predicates import like

# Below that the index of parts knows nothing: a shorter word is looked for at the beginning of a name.
SHORTEST_PART = 3
LONGEST = 200
# So many that are found by the index are few; among so many of the newest something common is found.
FEW = 3_000
NEWEST = 20_000
_PART = re.compile(r"[^\W_]{3}")
_NUMBER = re.compile(r"[\d\s()+./-]+")
_NOT_DIGITS = re.compile(r"\D")
Ids = sa.Select[uuid.UUID]


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to find somebody: a query that an index answers, and the same asked of one contact."""

    by_index: Callable[[Sequence[sa.ColumnElement[bool]]], Ids]
    of_one: sa.ColumnElement[bool]


def listed(
    session: Session,
    workspace_id: uuid.UUID,
    *,
    q: str = "",
    tag: str = "",
    conditions: Sequence[sa.ColumnElement[bool]] = (),
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[Contact]:
    """Return contacts, the newest first.

    Args:
        q: a part of a name, of a phone number in any writing, or of an e-mail address.
        tag: a tag that they have.
        conditions: what else must be true of them, such as a segment's.
    """
    # The plan must know what is looked for: one made for any word would be wrong for most.
    session.execute(sa.text("SET LOCAL plan_cache_mode = force_custom_plan"))
    there = [segments.present(workspace_id)]
    if before is not None:
        there.append(Contact.id < before)
    query = sa.select(Contact).order_by(Contact.id.desc()).limit(limit)
    tagged = _by_tag(tag) if tag.strip() else None
    if q.strip():
        ways = _ways(q.strip(), workspace_id)
        conditions = [*conditions, tagged.of_one] if tagged else conditions
    elif tagged:
        ways = [tagged]
    else:
        return list(session.scalars(query.where(*there, *_of_whom(session, there, conditions))))
    found: set[uuid.UUID] = set()
    for way in ways:
        found.update(_found(session, way, there, conditions, limit))
    newest = sorted(found, reverse=True)[:limit]
    return list(session.scalars(query.where(Contact.id.in_(newest))))


def _of_whom(
    session: Session, there: Sequence[sa.ColumnElement[bool]], conditions: Sequence[sa.ColumnElement[bool]]
) -> Sequence[sa.ColumnElement[bool]]:
    """Return the conditions in such a way that the newest of whom they are true are found soon.

    In their order, where some of the newest are among them; else all are collected first, as an index may know them.
    """
    if not conditions:
        return ()
    newest = sa.select(Contact.id).where(*there).order_by(Contact.id.desc()).limit(NEWEST).subquery()
    if session.scalar(sa.select(Contact.id).where(Contact.id == newest.c.id, *conditions).limit(1)) is not None:
        return conditions
    return [Contact.id.in_(sa.select(Contact.id).where(*there, *conditions).offset(0))]


def _found(
    session: Session,
    way: _Way,
    there: Sequence[sa.ColumnElement[bool]],
    conditions: Sequence[sa.ColumnElement[bool]],
    limit: int,
) -> Sequence[uuid.UUID]:
    """Return the newest of those whom one way finds, perhaps with others."""
    by_index = way.by_index([*there, *conditions])
    some = session.scalars(by_index.limit(FEW)).all()
    if len(some) < FEW:
        return some
    newest = sa.select(Contact.id).where(*there).order_by(Contact.id.desc()).limit(NEWEST).subquery()
    page = sa.select(Contact.id).where(Contact.id == newest.c.id, *conditions, way.of_one).order_by(newest.c.id.desc())
    # The index of parts would collect all who fit before the first of them is looked at.
    session.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
    some = session.scalars(page.limit(limit)).all()
    session.execute(sa.text("SET LOCAL enable_bitmapscan = on"))
    if len(some) == limit:
        return some
    # OFFSET has the index find them all before the newest are taken: in their order all others would be passed by.
    everybody = by_index.offset(0).subquery()
    return session.scalars(sa.select(everybody.c.id).distinct().order_by(everybody.c.id.desc()).limit(limit)).all()


def _ways(q: str, workspace_id: uuid.UUID) -> list[_Way]:
    """Return what can be meant by a search; nothing without a letter or digit."""
    if not re.search(r"[^\W_]", q):
        return []
    has_part = _PART.search(q) is not None
    ways = [_by_name(like(q, before="%" if has_part else ""))]
    digits = _NOT_DIGITS.sub("", q).lstrip("0") if _NUMBER.fullmatch(q) else ""
    if len(digits) >= SHORTEST_PART:
        ways.append(_by_identity(workspace_id, "phone", f"%{digits}%"))
    elif has_part:
        ways.append(_by_identity(workspace_id, "email", like(q.lower())))
    return ways


def _by_name(pattern: str) -> _Way:
    return _by_contact(sa.func.lower(Contact.name).like(sa.func.lower(pattern)))


def _by_tag(tag: str) -> _Way:
    return _by_contact(audience.tagged([tag]))


def _by_contact(fits: sa.ColumnElement[bool]) -> _Way:
    return _Way(lambda narrowed: sa.select(Contact.id).where(*narrowed, fits), fits)


def _by_identity(workspace_id: uuid.UUID, kind: str, pattern: str) -> _Way:
    fits = sa.and_(
        Identity.workspace_id == workspace_id,
        # As the index says it.
        Identity.kind.in_([sa.literal_column("'phone'"), sa.literal_column("'email'")]),
        Identity.kind == sa.literal_column(f"'{kind}'"),
        Identity.retired_at.is_(None),
        Identity.value.like(pattern),
    )
    # OFFSET keeps it a question about each contact; as a join it would begin with all identities that fit.
    of_one = sa.select(sa.literal(1)).where(Identity.contact_id == Contact.id, fits).correlate(Contact).offset(0)
    return _Way(
        lambda narrowed: sa.select(Contact.id).join(Identity, Identity.contact_id == Contact.id).where(*narrowed, fits),
        of_one.exists(),
    )
