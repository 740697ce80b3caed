"""Channels brought back from CRM_HOME/credentials.cache into a database that lost them."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import crypto
from crm_tasks.core.errors import ConfigError
from crm_tasks.workspaces.credentials import Kept
from crm_tasks.workspaces.models import Channel, Workspace


class Done(StrEnum):
    """What was done about one channel."""

    CREATED = "created"
    RESTORED = "credentials restored"
    REPLACED = "credentials replaced"
    SAME = "has them already"
    NEWER = "kept: the database has newer ones (--force replaces them)"
    TAKEN = "left out: its number belongs to another channel"


@dataclass(frozen=True, slots=True)
class Restored:
    """One channel of the file, and what was done about it."""

    channel_id: uuid.UUID
    name: str
    done: Done


def restore(session: Session, kept: Iterable[Kept], *, force: bool = False) -> list[Restored]:
    """Bring channels back, with their workspaces where these are missing too.

    Credentials in the database that can be read are replaced only if they are older than the file's, or with `force`.
    """
    return [
        Restored(each.channel["id"], each.channel.get("name", ""), _restore(session, each, force=force))
        for each in sorted(kept, key=lambda one: str(one.channel["id"]))
    ]


def _restore(session: Session, kept: Kept, *, force: bool) -> Done:
    table = Channel.__table__
    wanted = kept.channel
    row = session.execute(
        sa.select(sa.type_coerce(table.c.credentials, sa.LargeBinary), table.c.credentials_at)
        .where(table.c.id == wanted["id"])
        .with_for_update()
    ).first()
    if row is None:
        return _create(session, kept)
    present = _opened(row[0])
    if present == wanted["credentials"]:
        return Done.SAME
    if present and not force and row.credentials_at >= wanted["credentials_at"]:
        return Done.NEWER
    session.execute(
        sa.update(Channel)
        .where(Channel.id == wanted["id"])
        .values({name: wanted[name] for name in ("credentials", "signed_by", "credentials_at")})
        .execution_options(synchronize_session=False)
    )
    return Done.REPLACED if present else Done.RESTORED


def _create(session: Session, kept: Kept) -> Done:
    wanted = kept.channel
    taken = sa.select(Channel.id).where(
        Channel.kind == wanted["kind"], Channel.phone_number_id == wanted.get("phone_number_id")
    )
    if wanted.get("phone_number_id") and session.scalar(taken) is not None:
        return Done.TAKEN
    if session.get(Workspace, wanted["workspace_id"]) is None:
        session.add(Workspace(**kept.workspace))
        session.flush()
    session.add(Channel(**wanted))
    session.flush()
    return Done.CREATED


def _opened(token: bytes) -> object:
    try:
        return crypto.decrypt(token) if token else None
    except ConfigError:
        return None
