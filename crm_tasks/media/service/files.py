"""Files as people see them: taken in, looked at, removed when they are old enough."""

import uuid
from datetime import datetime
from typing import BinaryIO

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import Conflict, FieldError, Invalid, NotFound
from crm_tasks.core.log import get_logger
from crm_tasks.core.types import id_floor, new_id
from crm_tasks.media.models import Media, MediaDirection, MediaState
from crm_tasks.media.service import fetching
from crm_tasks.media.service.checking import wrong
from crm_tasks.providers import outbound
from crm_tasks.providers.storage import Gone, Stored, TooLarge, storage
from crm_tasks.providers.whatsapp import files as whatsapp
from crm_tasks.workspaces import service as workspaces

log = get_logger(__name__)

_PIECE = 65_536


def keep(file: BinaryIO, media_id: uuid.UUID) -> Stored:
    """Put a checked file into the store, with no transaction open."""
    file.seek(0)
    try:
        return storage().save(iter(lambda: file.read(_PIECE), b""), name=media_id, limit=whatsapp.LARGEST)
    except TooLarge as error:
        raise wrong(f"The file is too large: {error}.", "too_large") from None


def add(
    session: Session,
    workspace_id: uuid.UUID,
    channel_id: uuid.UUID,
    stored: Stored,
    *,
    media_id: uuid.UUID,
    mime_type: str,
    filename: str | None,
) -> Media:
    """Remember a file that is in the store.

    Raises:
        NotFound: no such channel here.
    """
    workspaces.channel(session, workspace_id, channel_id)
    media = Media(
        id=media_id,
        workspace_id=workspace_id,
        channel_id=channel_id,
        direction=MediaDirection.OUT,
        state=MediaState.STORED,
        mime_type=mime_type,
        sniffed_type=mime_type,
        filename=filename,
        size=stored.size,
        sha256=stored.sha256,
        storage_key=stored.key,
        fetched_at=session.scalar(sa.select(now())),
    )
    return _added(session, media)


def add_link(session: Session, workspace_id: uuid.UUID, channel_id: uuid.UUID, url: str) -> Media:
    """Have a file fetched from a link.

    Raises:
        NotFound: no such channel here. Invalid: the link does not lead to a public address.
    """
    if why := outbound.problem(url):
        raise Invalid("This link cannot be opened.", code="private_address", fields=[FieldError("url", why)])
    workspaces.channel(session, workspace_id, channel_id)
    media = Media(
        id=new_id(),
        workspace_id=workspace_id,
        channel_id=channel_id,
        direction=MediaDirection.OUT,
        state=MediaState.WANTED,
        link=url,
    )
    _added(session, media)
    media.job_id = fetching.enqueue_fetch(session, media)
    return media


def _added(session: Session, media: Media) -> Media:
    session.add(media)
    session.flush()
    session.refresh(media)
    return media


def get(session: Session, workspace_id: uuid.UUID, media_id: uuid.UUID, *, lock: bool = False) -> Media:
    """Return a file of a workspace.

    Raises:
        NotFound: there is none of this id here, or not any more.
    """
    media = session.get(Media, media_id, with_for_update=lock)
    if media is None or media.workspace_id != workspace_id:
        raise NotFound(f"There is no file {media_id}.", code="media_not_found")
    return media


def opened(media: Media) -> BinaryIO:
    """Open a file to read.

    Raises:
        Conflict: it is not here (yet). NotFound: it was removed.
    """
    if media.storage_key is None:
        why = f": {media.reason}" if media.reason else ""
        raise Conflict(f"The file is {media.state}{why}.", code="media_not_stored")
    try:
        return storage().open(media.storage_key)
    except Gone:
        raise NotFound(f"The file {media.id} was removed.", code="media_not_found") from None


def fetch_again(session: Session, workspace_id: uuid.UUID, media_id: uuid.UUID) -> Media:
    """Try once more to get a file that could not be fetched.

    Raises:
        NotFound: no such file here. Conflict: it is here, or on its way, or the provider has it no more.
    """
    media = get(session, workspace_id, media_id, lock=True)
    if media.state is not MediaState.FAILED:
        raise Conflict(f"The file is {media.state}; only what failed can be fetched again.", code="media_not_failed")
    media.state, media.reason, media.reason_code = MediaState.WANTED, None, None
    media.job_id = fetching.enqueue_fetch(session, media)
    return media


def forget(session: Session, before: datetime, *, limit: int = 500) -> int:
    """Remove files that came before a moment, a batch at a time, and return how many that were.

    Their content goes first: should the transaction fail, the next run finds the rows and goes on.
    """
    rows = session.execute(
        sa.select(Media.id, Media.storage_key)
        .where(Media.id < id_floor(before))
        .order_by(Media.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    store = storage()
    for _, key in rows:
        if key is not None:
            store.delete(key)
    if rows:
        session.execute(sa.delete(Media).where(Media.id.in_([media_id for media_id, _ in rows])))
    if len(rows) < limit and (swept := store.sweep()):
        log.info("media.swept", files=swept)
    return len(rows)
