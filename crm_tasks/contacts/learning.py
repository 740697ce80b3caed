"""Names that providers tell us when they accept messages: those that are new are kept together, others cost a look."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import forgotten
from crm_tasks.contacts import service as contacts
from crm_tasks.contacts.models import IdentityKind
from crm_tasks.core.types import new_id

Name = tuple[uuid.UUID, str, str]
# A name that was given up later was still somebody's then.
_UNKNOWN = sa.text("""
    SELECT told.workspace_id, told.kind, told.value
    FROM unnest(CAST(:workspaces AS uuid[]), CAST(:kinds AS text[]), CAST(:values AS text[]))
        AS told(workspace_id, kind, value)
    WHERE NOT EXISTS (SELECT FROM identities i WHERE i.workspace_id = told.workspace_id AND i.kind = told.kind
                        AND i.value = told.value AND i.retired_at IS NULL)
      AND NOT EXISTS (SELECT FROM identities i WHERE i.workspace_id = told.workspace_id AND i.kind = told.kind
                        AND i.value = told.value AND i.retired_at >= :at)
""")
_ADD = sa.text("""
    INSERT INTO identities (id, workspace_id, contact_id, kind, value)
    SELECT given.id, workspace_id, contact_id, kind, value
    FROM unnest(CAST(:ids AS uuid[]), CAST(:workspaces AS uuid[]), CAST(:contacts AS uuid[]), CAST(:kinds AS text[]),
                CAST(:values AS text[])) AS given(id, workspace_id, contact_id, kind, value)
    ON CONFLICT (workspace_id, kind, value) WHERE retired_at IS NULL DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class Told:
    """By which names a provider knows a contact."""

    workspace_id: uuid.UUID
    contact_id: uuid.UUID
    wa_id: str | None
    bsuid: str | None

    @property
    def names(self) -> list[tuple[str, str]]:
        """The names, by kind."""
        return [(kind, name) for kind, name in (("wa_id", self.wa_id), ("bsuid", self.bsuid)) if name]


def learn_many(session: Session, told: Sequence[Told], *, at: datetime) -> None:
    """Keep the names that nobody has yet; one that is another's stays there."""
    owners: dict[Name, uuid.UUID] = {}
    for each in sorted(told, key=lambda one: one.contact_id):
        for kind, value in each.names:
            owners.setdefault((each.workspace_id, kind, value), each.contact_id)
    if not (missing := _unknown(session, sorted(owners), at)):
        return
    # Whose a name becomes that nobody has, is decided by one at a time.
    for workspace_id in sorted({name[0] for name in missing}):
        keys = [(IdentityKind(kind), value) for owner, kind, value in missing if owner == workspace_id]
        contacts.take_turns(session, workspace_id, keys)
    missing = _unknown(session, missing, at)
    values = {"ids": [new_id() for _ in missing], "contacts": [owners[name] for name in missing], **_columns(missing)}
    session.execute(_ADD, values)
    for workspace_id in sorted({name[0] for name in missing}):
        forgotten.recognise(session, workspace_id, [value for owner, _, value in missing if owner == workspace_id])


def _unknown(session: Session, names: Sequence[Name], at: datetime) -> list[Name]:
    """Return which of these names nobody has."""
    if not names:
        return []
    found = {
        (row.workspace_id, row.kind, row.value) for row in session.execute(_UNKNOWN, {"at": at, **_columns(names)})
    }
    return [name for name in names if name in found]


def _columns(names: Sequence[Name]) -> dict[str, Any]:
    return {
        "workspaces": [workspace_id for workspace_id, _, _ in names],
        "kinds": [kind for _, kind, _ in names],
        "values": [value for _, _, value in names],
    }
