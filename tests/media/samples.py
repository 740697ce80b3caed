"""Files as small as they can be and still be what they are, and ways to look at ours."""

import io
import uuid
import zipfile
from typing import Any

from crm_tasks.core import db
from crm_tasks.core.jobs.model import Job
from crm_tasks.core.types import new_id
from crm_tasks.media.models import Media, MediaDirection, MediaState
from crm_tasks.media.service import files
from crm_tasks.messages.models import Message
from crm_tasks.providers.storage import storage
from tests.fixtures import Demo
from tests.harness import eventually
from tests.messages.apply import one, rows
from tests.outside import Sandbox

OFFICE = "application/vnd.openxmlformats-officedocument."
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 4
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + b"\x00" * 200 + b"\xff\xd9"
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF"
OGG = b"OggS\x00\x02" + b"\x00" * 20 + b"\x01\x13OpusHead" + b"\x00" * 40
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomiso2" + b"\x00" * 50
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00" + b"\x00" * 50
MOVING = WEBP.replace(b"VP8X\x0a\x00\x00\x00\x00", b"VP8X\x0a\x00\x00\x00\x02")


def zipped(*names: str) -> bytes:
    """Return an archive with these files in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, "<x/>")
    return made.getvalue()


def sent_by_customer(
    sandbox: Sandbox, data: bytes, *, kind: str = "image", mime: str = "image/png", **more: Any
) -> str:
    """Let a customer send a file, and return the provider's id of the file."""
    given = sandbox.http.post(
        f"{sandbox.url}/_sandbox/media", files={"file": ("a", data, mime)}, data={"type": mime}, timeout=60
    )
    assert given.status_code == 201, given.text
    said = {"id": given.json()["id"], **more}
    sandbox.control("POST", "inbound?wait=1", {"from": "15550001111", "type": kind, kind: said})
    return said["id"]


def media_until(*states: MediaState, code: str | None = None) -> Media:
    """Wait until the only file is in one of these states."""

    def look() -> Media | None:
        found = rows(Media)
        good = found and found[0].state in states and code in (None, found[0].reason_code)
        return found[0] if good else None

    return eventually(look, f"a file {' or '.join(states)}", 60)


def content(media: Media) -> bytes:
    """Return what is in the store."""
    assert media.storage_key is not None
    with storage().open(media.storage_key) as file:
        return file.read()


def message_of(media: Media) -> Message:
    """Return the message that a file belongs to."""
    return one(Message, Message.media_id == media.id)


def fetch_job(media: Media) -> Job:
    """Return the last job that fetches a file."""
    return rows(Job, Job.task == "messages.fetch_media", Job.args["media_id"].astext == str(media.id))[-1]


def ours(demo: Demo, data: bytes = PNG, mime_type: str = "image/png") -> uuid.UUID:
    """Put a file of ours into the store."""
    media_id = new_id()
    stored = files.keep(io.BytesIO(data), media_id)
    with db.transaction() as session:
        files.add(
            session,
            demo.workspace_id,
            demo.channel_id,
            stored,
            media_id=media_id,
            mime_type=mime_type,
            filename="a.png",
        )
    assert one(Media, Media.id == media_id).direction is MediaDirection.OUT
    return media_id
