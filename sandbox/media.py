"""Media: metadata in the journal, bytes in files beside it. A link is signed and lives five minutes, as at Meta."""

import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.fields import Json
from sandbox.ids import media_id
from sandbox.numbers import Number

LINK_LIFE = 300
_DAY = 86_400
LIFE = {"business": 30 * _DAY, "customer": 7 * _DAY}


@dataclass(frozen=True, slots=True)
class Media:
    """One file; `by` says who brought it."""

    id: str
    waba_id: str
    mime_type: str
    sha256: str
    size: int
    filename: str | None
    by: str
    t: float

    @property
    def bare_type(self) -> str:
        """The MIME type without parameters."""
        return self.mime_type.partition(";")[0].strip().lower()

    def for_webhook(self) -> Json:
        """Return the object a webhook carries; its digest is base64, unlike the metadata's."""
        digest = b64encode(bytes.fromhex(self.sha256)).decode()
        return {"id": self.id, "mime_type": self.mime_type, "sha256": digest}


class MediaStore:
    """All media by id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._media: dict[str, Media] = {}

    def save(self, data: bytes, *, waba_id: str, mime_type: str, filename: str | None, by: str) -> Media:
        """Write the bytes to disk and return the metadata, which the caller commits."""
        new = media_id()
        while new in self._media:
            new = media_id()
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{new}.part"
        partial.write_bytes(data)
        partial.replace(self._folder / new)
        digest = hashlib.sha256(data).hexdigest()
        return Media(new, waba_id, mime_type, digest, len(data), filename, by, time.time())

    def get(self, wanted: str) -> Media | None:
        """Return a medium that has not expired, or None."""
        found = self._media.get(wanted)
        return found if found and time.time() - found.t < LIFE[found.by] else None

    def path(self, media: Media) -> Path:
        """Return the file of a medium."""
        return self._folder / media.id

    def put(self, event: Json) -> None:
        """Apply a `media` event."""
        media = Media(**event["media"])
        self._media[media.id] = media

    def remove(self, event: Json) -> None:
        """Apply a `media_gone` event."""
        media = self._media.pop(event["id"], None)
        if media is not None:
            self.path(media).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete every file."""
        for media in self._media.values():
            self.path(media).unlink(missing_ok=True)
        self._media.clear()

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring all metadata back."""
        return ({"k": "media", "media": asdict(media)} for media in tuple(self._media.values()))


def link(media: Media, number: Number, base: str) -> str:
    """Return an address the bytes can be fetched from for five minutes, with the bearer token."""
    until = int(time.time()) + LINK_LIFE
    return f"{base}/whatsapp_business/attachments/?mid={media.id}&ext={until}&hash={signed(media, number, until)}"


def signed(media: Media, number: Number, until: int) -> str:
    """Return the signature of a link."""
    return hmac.new(number.app_secret.encode(), f"{media.id}.{until}".encode(), hashlib.sha256).hexdigest()[:40]
