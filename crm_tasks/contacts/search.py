"""Lists of contacts and the search in them, the newest first; each page is quick however many there are.

Each way of finding somebody is a query of its own with its own limit: Postgres then chooses for each between the index
of what was written and going through the newest, and never collects all that fit only to sort them.
"""

import re
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import segments
from crm_tasks.contacts.models import Contact, Identity
from crm_tasks.contacts.predicates import like

# Below that the index of parts knows nothing: a shorter word is looked for at the beginning of a name.
SHORTEST_PART = 3
LONGEST = 200
_NUMBER = re.compile(r"[\d\s()+./-]+")
_NOT_DIGITS = re.compile(r"\D")


def listed(
    session: Session,
    workspace_id: uuid.UUID,
    *,
    q: str = "",
    conditions: Sequence[sa.ColumnElement[bool]] = (),
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[Contact]:
    """Return contacts, the newest first.

    Args:
        q: a part of a name, of a phone number in any writing, or of an e-mail address.
        conditions: what else must be true of them, such as a segment's.
    """
    # The plan must know what is looked for: one made for any word would be wrong for most.
    session.execute(sa.text("SET LOCAL plan_cache_mode = force_custom_plan"))
    narrowed = [segments.present(workspace_id), *conditions]
    if before is not None:
        narrowed.append(Contact.id < before)
    ways = _ways(q.strip(), workspace_id) if q.strip() else [sa.true()]
    pages = [
        sa.select(Contact.id).where(*narrowed, way).order_by(Contact.id.desc()).limit(limit).subquery() for way in ways
    ]
    ids = sa.union(*(sa.select(page.c.id) for page in pages)).subquery()
    query = sa.select(Contact).where(Contact.id.in_(sa.select(ids.c.id))).order_by(Contact.id.desc()).limit(limit)
    return list(session.scalars(query))


def _ways(q: str, workspace_id: uuid.UUID) -> list[sa.ColumnElement[bool]]:
    """Return what can be meant by a search."""
    before = "%" if len(q) >= SHORTEST_PART else ""
    ways: list[sa.ColumnElement[bool]] = [sa.func.lower(Contact.name).like(sa.func.lower(like(q, before=before)))]
    digits = _NOT_DIGITS.sub("", q).lstrip("0") if _NUMBER.fullmatch(q) else ""
    if len(digits) >= SHORTEST_PART:
        ways.append(_named(workspace_id, "phone", f"%{digits}%"))
    if len(q) >= SHORTEST_PART and not digits:
        ways.append(_named(workspace_id, "email", like(q.lower())))
    return ways


def _named(workspace_id: uuid.UUID, kind: str, pattern: str) -> sa.ColumnElement[bool]:
    return Contact.id.in_(
        sa.select(Identity.contact_id).where(
            Identity.workspace_id == workspace_id,
            # As the index says it.
            Identity.kind.in_([sa.literal_column("'phone'"), sa.literal_column("'email'")]),
            Identity.kind == sa.literal_column(f"'{kind}'"),
            Identity.retired_at.is_(None),
            Identity.value.like(pattern),
        )
    )
