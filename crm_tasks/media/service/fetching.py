"""Getting files: what a customer sent from the provider, what was given as a link from there.

An address that the provider gives lives five minutes, so each try asks for a fresh one.
"""

import base64
import binascii
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import now
from crm_tasks.core.errors import Invalid, Permanent, Transient
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.log import get_logger
from crm_tasks.media import sniff
from crm_tasks.media.models import Media, MediaDirection, MediaState
from crm_tasks.media.service import checking
from crm_tasks.providers import links
from crm_tasks.providers.http import Download
from crm_tasks.providers.provider import Sender
from crm_tasks.providers.storage import Stored, TooLarge, storage
from crm_tasks.providers.whatsapp import files as whatsapp
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

# With the backoff of the queue about three hours: a provider's bad morning.
ATTEMPTS = 12
EXPIRED, GONE = "media_expired", "media_gone"


@dataclass(frozen=True, slots=True)
class Order:
    """Everything needed to fetch one file, without a transaction open."""

    media_id: uuid.UUID
    said: str | None
    sha256: str | None
    sender: Sender | None = None
    provider_media_id: str | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is in the store, what it is said to be and what it is."""

    stored: Stored
    mime_type: str | None
    sniffed_type: str


def want(session: Session, channel: Channel, file: dict[str, Any], *, media_id: uuid.UUID, at: datetime) -> None:
    """Have the file of a customer's message fetched, in the transaction that keeps the message.

    Args:
        file: the media object of a webhook.
        at: when the message was sent: the provider keeps the file for seven days from then.
    """
    media = Media(
        id=media_id,
        workspace_id=channel.workspace_id,
        channel_id=channel.id,
        direction=MediaDirection.IN,
        state=MediaState.WANTED,
        provider_media_id=str(file["id"]),
        provider_expires_at=at + whatsapp.INBOUND_LIVES,
        mime_type=sniff.bare(str(file.get("mime_type") or "")),
        filename=str(file["filename"])[:240] if file.get("filename") else None,
        sha256=_hex(file.get("sha256")),
    )
    session.add(media)
    session.flush()
    media.job_id = enqueue_fetch(session, media)


def enqueue_fetch(session: Session, media: Media) -> uuid.UUID:
    """Enqueue the fetching of a file."""
    return enqueue(
        session,
        "messages.fetch_media",
        args={"media_id": media.id},
        workspace_id=media.workspace_id,
        scopes=[f"channel:{media.channel_id}"],
        priority=2,
        max_attempts=ATTEMPTS,
        unique_key=f"media:{media.id}",
    )


def begin(session: Session, media_id: uuid.UUID) -> Order | None:
    """Mark a file as being fetched; None if there is nothing to do.

    Raises:
        Permanent: the provider has it no more.
    """
    media = session.get(Media, media_id, with_for_update=True)
    if media is None or media.state in (MediaState.STORED, MediaState.EXPIRED):
        return None
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    if media.provider_expires_at is not None and media.provider_expires_at < moment:
        raise Permanent("the provider kept the file for seven days, which are over", code=EXPIRED)
    media.state = MediaState.FETCHING
    if media.link is not None:
        return Order(media.id, None, None, link=media.link)
    sender = workspaces.sender(session.get_one(Channel, media.channel_id))
    return Order(media.id, media.mime_type, media.sha256, sender=sender, provider_media_id=media.provider_media_id)


def fetch(order: Order) -> Fetched:
    """Get a file into the store, with no transaction open.

    Raises:
        Transient: it may work later. Permanent: it never will.
    """
    if order.link is not None:
        return _fetched(order, links.opened(order.link), None, None)
    assert order.sender is not None
    assert order.provider_media_id is not None
    found = whatsapp.find(order.sender, order.provider_media_id)
    if found.size is not None and found.size > whatsapp.LARGEST:
        raise _too_large()
    expected = order.sha256 or _hex(found.sha256)
    return _fetched(
        order, whatsapp.opened(order.sender, found.url), expected, order.said or sniff.bare(found.mime_type)
    )


def _fetched(order: Order, source: AbstractContextManager[Download], expected: str | None, said: str | None) -> Fetched:
    try:
        with source as answer:
            said = said or sniff.bare(answer.headers.get("Content-Type"))
            stored = storage().save(answer.pieces, name=order.media_id, limit=whatsapp.LARGEST)
    except TooLarge:
        raise _too_large() from None
    try:
        if expected is not None and stored.sha256 != expected:
            raise Transient("the file is not the one that was announced: its SHA-256 differs", code="media_sha256")
        with storage().open(stored.key) as file:
            found = sniff.type_of(file, said) if order.link is None else checking.check(file, said, stored.size)
            return Fetched(stored, said, found)
    except Invalid as error:
        storage().delete(stored.key)
        raise Permanent(error.message, code=error.code) from None
    except BaseException:
        storage().delete(stored.key)
        raise


def _too_large() -> Permanent:
    return Permanent(f"the file is larger than {whatsapp.LARGEST} bytes", code="media_too_large")


def kept(session: Session, media_id: uuid.UUID, fetched: Fetched) -> None:
    """Remember that a file is in the store."""
    media = session.get(Media, media_id, with_for_update=True)
    if media is None:  # removed meanwhile: nobody can ask for it
        storage().delete(fetched.stored.key)
        return
    media.state, media.reason, media.reason_code = MediaState.STORED, None, None
    media.storage_key, media.size, media.sha256 = fetched.stored.key, fetched.stored.size, fetched.stored.sha256
    media.mime_type, media.sniffed_type = fetched.mime_type, fetched.sniffed_type
    media.fetched_at = session.scalar(sa.select(now()))


def put_off(session: Session, media_id: uuid.UUID, *, code: str | None, text: str | None) -> None:
    """Remember that a file was not fetched this time, and why; another try comes."""
    _not_fetched(session, media_id, MediaState.WANTED, code, text)


def failed(session: Session, media_id: uuid.UUID, *, code: str, text: str) -> None:
    """Remember that a file cannot be fetched, and why."""
    state = MediaState.EXPIRED if code in (EXPIRED, GONE) else MediaState.FAILED
    _not_fetched(session, media_id, state, code, text)
    log.warning("media.failed", media_id=str(media_id), code=code)


def _not_fetched(session: Session, media_id: uuid.UUID, state: MediaState, code: str | None, text: str | None) -> None:
    media = session.get(Media, media_id, with_for_update=True)
    if media is not None and media.state is not MediaState.STORED:
        media.state, media.reason_code, media.reason = state, code or media.reason_code, text or media.reason


def _hex(digest: Any) -> str | None:
    """Return a SHA-256 in hex: webhooks have it in base64, the provider's metadata in hex."""
    if not isinstance(digest, str):
        return None
    if len(digest) == 64:
        return digest.lower()
    try:
        raw = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None
