"""The link to a file: whoever has it may fetch the file until it expires. It is signed, and says nothing but an id."""

import base64
import binascii
import hmac
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crm_tasks.config import settings

PATH = "/d/"
_PURPOSE = b"export-link:1:"
_SIGNATURE, _ID, _MOMENT = 32, 16, 5


@dataclass(frozen=True, slots=True)
class Link:
    """Which file, and until when."""

    export_id: uuid.UUID
    expires_at: datetime

    @property
    def url(self) -> str:
        """The address from outside."""
        return f"{settings().outside_url}{PATH}{self.token}"

    @property
    def token(self) -> str:
        """What names it, signed."""
        named = self.export_id.bytes + int(self.expires_at.timestamp()).to_bytes(_MOMENT)
        return base64.urlsafe_b64encode(named + _signature(named)).decode().rstrip("=")


def link(export_id: uuid.UUID, moment: datetime, kept_until: datetime) -> Link:
    """Return a link that begins now and ends with the file at the latest."""
    until = min(moment + timedelta(hours=settings().export_link_hours), kept_until)
    return Link(export_id, until.replace(microsecond=0))


def read(token: str) -> Link | None:
    """Return what a token names, also when it has expired; None if it is not one of ours."""
    try:
        given = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    named, signature = given[: _ID + _MOMENT], given[_ID + _MOMENT :]
    if len(signature) != _SIGNATURE or not hmac.compare_digest(signature, _signature(named)):
        return None
    return Link(uuid.UUID(bytes=named[:_ID]), datetime.fromtimestamp(int.from_bytes(named[_ID:]), UTC))


def _signature(named: bytes) -> bytes:
    return hmac.digest(settings().secret_key.encode(), _PURPOSE + named, "sha256")
