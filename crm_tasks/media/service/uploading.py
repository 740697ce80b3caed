"""Bringing our files to a provider: once for many messages, and again when the provider has forgotten them."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import Permanent, Snooze
from crm_tasks.media.models import Media, MediaState, MediaUpload
from crm_tasks.providers.provider import Sender
from crm_tasks.providers.storage import Gone, storage
from crm_tasks.providers.whatsapp import files as whatsapp
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

# Longer than an upload may take; only a worker that went away leaves a lease behind.
LEASE = timedelta(seconds=90)
# An id must live until the message that names it has been sent.
MARGIN = timedelta(hours=1)
_SOON = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Upload:
    """Everything needed to bring one file, without a transaction open."""

    media_id: uuid.UUID
    channel_id: uuid.UUID
    sender: Sender
    key: str
    size: int
    mime_type: str
    filename: str


def known(session: Session, channel_id: uuid.UUID, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return what the provider calls those of these files that it knows through this channel."""
    rows = session.execute(
        sa.select(MediaUpload.media_id, MediaUpload.provider_media_id).where(
            MediaUpload.media_id.in_(list(ids)),
            MediaUpload.channel_id == channel_id,
            MediaUpload.provider_media_id.is_not(None),
            MediaUpload.expires_at > now() + MARGIN,
        )
    )
    return {media_id: provider_id for media_id, provider_id in rows if provider_id}


def begin(session: Session, channel: Channel, ids: Iterable[uuid.UUID], *, by: uuid.UUID) -> list[Upload]:
    """Take it upon a message (`by`) to bring these files.

    Raises:
        Snooze: another message is bringing one of them, or it is still being fetched.
        Permanent: one of them is not here and will not be.
    """
    return [_begin(session, channel, media_id, by) for media_id in sorted(ids)]


def _begin(session: Session, channel: Channel, media_id: uuid.UUID, by: uuid.UUID) -> Upload:
    media = session.get(Media, media_id)
    if media is None or media.workspace_id != channel.workspace_id:
        raise _cannot("the file was removed")
    if media.state in (MediaState.WANTED, MediaState.FETCHING):
        raise Snooze(_SOON, "its file is being fetched", code="media_fetching")
    if media.storage_key is None or media.size is None:
        raise _cannot(f"its file is not here: {media.reason}")
    if not _lease(session, media_id, channel.id, by):
        raise Snooze(_SOON, "another message is bringing its file to the provider", code="media_uploading")
    return Upload(
        media_id,
        channel.id,
        workspaces.sender(channel),
        media.storage_key,
        media.size,
        media.sniffed_type or "",
        media.filename or f"{media_id}",
    )


def _lease(session: Session, media_id: uuid.UUID, channel_id: uuid.UUID, by: uuid.UUID) -> bool:
    statement = insert(MediaUpload).values(
        media_id=media_id, channel_id=channel_id, leased_by=by, leased_until=now() + LEASE
    )
    leased = session.execute(
        statement.on_conflict_do_update(
            index_elements=["media_id", "channel_id"],
            set_={"leased_by": statement.excluded.leased_by, "leased_until": statement.excluded.leased_until},
            where=sa.and_(
                sa.or_(MediaUpload.leased_until < now(), MediaUpload.leased_by == by),
                # Not brought yet, or forgotten by the provider by now.
                sa.or_(MediaUpload.provider_media_id.is_(None), MediaUpload.expires_at <= now() + MARGIN),
            ),
        ).returning(MediaUpload.media_id)
    )
    return leased.first() is not None


def bring(upload: Upload) -> str:
    """Bring a file to the provider and return its id there, with no transaction open.

    Raises:
        Transient: it may work later. Permanent: the provider does not take it.
    """
    store = storage()
    if not store.exists(upload.key):
        raise _cannot("its file was removed")
    try:
        return whatsapp.upload(
            upload.sender,
            lambda: store.open(upload.key),
            size=upload.size,
            mime_type=upload.mime_type,
            filename=upload.filename,
        )
    except Gone:
        raise _cannot("its file was removed") from None


def brought(session: Session, upload: Upload, provider_id: str) -> None:
    """Remember what the provider calls a file; other messages need not bring it."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    session.execute(
        sa.update(MediaUpload)
        .where(MediaUpload.media_id == upload.media_id, MediaUpload.channel_id == upload.channel_id)
        .values(provider_media_id=provider_id, expires_at=moment + whatsapp.UPLOAD_LIVES, leased_until=moment)
    )


def _cannot(text: str) -> Permanent:
    return Permanent(text, code="media_not_stored", detail={"code": "media_not_stored", "title": text, "times": 1})
