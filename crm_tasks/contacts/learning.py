"""Names that providers tell us when they accept messages: those that are new are kept, the others cost one look."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.contacts import service as contacts

_KNOWN = sa.text("""
    SELECT told.workspace_id, told.value
    FROM unnest(CAST(:workspaces AS uuid[]), CAST(:kinds AS text[]), CAST(:values AS text[]))
        AS told(workspace_id, kind, value)
    WHERE EXISTS (SELECT FROM identities i WHERE i.workspace_id = told.workspace_id AND i.kind = told.kind
                    AND i.value = told.value AND i.retired_at IS NULL)
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
    given = sorted({(each.workspace_id, kind, name) for each in told for kind, name in each.names})
    if not given:
        return
    values = {
        "workspaces": [workspace_id for workspace_id, _, _ in given],
        "kinds": [kind for _, kind, _ in given],
        "values": [name for _, _, name in given],
    }
    known = {(row.workspace_id, row.value) for row in session.execute(_KNOWN, values)}
    for each in sorted(told, key=lambda one: one.contact_id):
        if any((each.workspace_id, name) not in known for _, name in each.names):
            contacts.learn(session, each.workspace_id, each.contact_id, wa_id=each.wa_id, bsuid=each.bsuid, at=at)
