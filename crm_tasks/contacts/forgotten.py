"""What erased people have refused outlives them as a hash: nobody can read whose it is, and it is known again.

The hash is keyed (HMAC-SHA256) with a key of the workspace that the database only has encrypted, as numbers are few
enough to try them all. When somebody of that address becomes a contact again, by whatever way, the refusal is theirs.
"""

import hmac
import secrets
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed
from crm_tasks.workspaces.models import Workspace

PREFIX = "erased:"
_REMEMBERED = "suppression_keys"

# Of two entries for one address the newer word counts.
_OLDER = """
    DELETE FROM suppressions older
    USING suppressions newer, unnest(cast(:old AS text[]), cast(:new AS text[])) AS m(o, n)
    WHERE older.workspace_id = :workspace_id AND newer.workspace_id = :workspace_id
      AND ((older.address = m.o AND newer.address = m.n) OR (older.address = m.n AND newer.address = m.o))
      AND older.medium = newer.medium AND older.scope = newer.scope
      AND (older.changed_at, older.id) < (newer.changed_at, newer.id)
"""
_SUPPRESSIONS = """
    UPDATE suppressions s SET address = m.n, evidence = CASE WHEN :bare THEN '{}' ELSE s.evidence END
    FROM unnest(cast(:old AS text[]), cast(:new AS text[])) AS m(o, n)
    WHERE s.workspace_id = :workspace_id AND s.address = m.o
"""
_EVENTS = """
    UPDATE consent_events e SET address = m.n, evidence = CASE WHEN :bare THEN '{}' ELSE e.evidence END
    FROM unnest(cast(:old AS text[]), cast(:new AS text[])) AS m(o, n)
    WHERE e.workspace_id = :workspace_id AND e.address = m.o
"""


def hide(session: Session, workspace_id: uuid.UUID, addresses: Sequence[str]) -> dict[str, int]:
    """Put hashes in the place of addresses, and nothing in that of the evidence; returns how many rows of which."""
    key = _key(session, workspace_id) or _new_key(session, workspace_id)
    return _move(session, workspace_id, addresses, [_hash(key, each) for each in addresses], bare=True)


def recognise(session: Session, workspace_id: uuid.UUID, addresses: Sequence[str]) -> int:
    """Give addresses that become a contact's what their erased owners had refused; returns how many rows that were.

    Whoever adds identities calls this, for many at once where many are added. Without anybody erased it costs one
    look.
    """
    key = _key(session, workspace_id)
    if key is None or not addresses:
        return 0
    return sum(_move(session, workspace_id, [_hash(key, each) for each in addresses], addresses, bare=False).values())


def spellings(session: Session, workspace_id: uuid.UUID, address: str) -> list[str]:
    """Return how an address may be written in the list: as it is, and as its hash."""
    key = _key(session, workspace_id)
    return [address] if key is None else [address, _hash(key, address)]


def _move(
    session: Session, workspace_id: uuid.UUID, old: Sequence[str], new: Sequence[str], *, bare: bool
) -> dict[str, int]:
    values = {"workspace_id": workspace_id, "old": list(old), "new": list(new), "bare": bare}
    session.execute(sa.text(_OLDER), values)
    return {
        "suppressions": changed(session.execute(sa.text(_SUPPRESSIONS), values)),
        "consent_events": changed(session.execute(sa.text(_EVENTS), values)),
    }


def _hash(key: str, address: str) -> str:
    return PREFIX + hmac.digest(key.encode(), address.encode(), "sha256").hex()


def _key(session: Session, workspace_id: uuid.UUID) -> str | None:
    """Return the workspace's key, remembered for the transaction; that there is none is asked anew."""
    known: dict[uuid.UUID, str] = session.info.setdefault(_REMEMBERED, {})
    if workspace_id not in known:
        query = sa.select(Workspace.suppression_key).where(Workspace.id == workspace_id)
        with session.no_autoflush:
            found = session.scalar(query)
        if found is None:
            return None
        known[workspace_id] = found
    return known[workspace_id]


def _new_key(session: Session, workspace_id: uuid.UUID) -> str:
    statement = (
        sa.update(Workspace)
        .where(Workspace.id == workspace_id, Workspace.suppression_key.is_(None))
        .values(suppression_key=secrets.token_hex(32))
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)
    made = _key(session, workspace_id)
    assert made is not None
    return made
