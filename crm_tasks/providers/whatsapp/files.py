"""Files of the Cloud API: which it takes, bringing one, and fetching one that a customer sent.

Source: Meta, "Media" of the Cloud API (2026-09). Everything here may be repeated: failures are Transient or Permanent.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO
from urllib.parse import quote

import orjson
import urllib3

from crm_tasks.config import settings
from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.providers import http
from crm_tasks.providers.http import Answer, Download, NoAnswer, NotSent
from crm_tasks.providers.provider import Action, Refusal, Sender
from crm_tasks.providers.whatsapp.errors import refusal

KB, MB = 1024, 1024 * 1024
_OFFICE = "application/vnd.openxmlformats-officedocument."
# What can be sent as which type, and how large it may be. A document may be any of these.
TAKEN: dict[str, dict[str, int]] = {
    "image": dict.fromkeys(("image/jpeg", "image/png"), 5 * MB),
    "video": dict.fromkeys(("video/mp4", "video/3gpp"), 16 * MB),
    "audio": dict.fromkeys(("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"), 16 * MB),
    "document": dict.fromkeys(
        (
            "text/plain",
            "application/pdf",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            f"{_OFFICE}wordprocessingml.document",
            f"{_OFFICE}spreadsheetml.sheet",
            f"{_OFFICE}presentationml.presentation",
        ),
        100 * MB,
    ),
    "sticker": {"image/webp": 500 * KB},
}
MOST: dict[str, int] = {mime: size for sizes in TAKEN.values() for mime, size in sizes.items()}
STILL_STICKER = 100 * KB
LARGEST = 100 * MB
# How long the provider knows a file: one that we brought, one that a customer sent.
UPLOAD_LIVES, INBOUND_LIVES = timedelta(days=30), timedelta(days=7)
_PIECE = 65_536


def fits(kind: str, mime_type: str) -> bool:
    """Say whether a file of this MIME type can be sent as a message of this type."""
    return mime_type in (MOST if kind == "document" else TAKEN[kind])


class Stopped(Transient):
    """The provider takes nothing from this account any more; `no` says why."""

    def __init__(self, no: Refusal, message: str, *, code: str) -> None:
        super().__init__(message, code=code)
        self.no = no


@dataclass(frozen=True, slots=True)
class Found:
    """Where a file is for the next five minutes, and what the provider says of it."""

    url: str
    mime_type: str | None
    sha256: str | None
    size: int | None


def find(sender: Sender, media_id: str) -> Found:
    """Ask where a file is.

    Raises:
        Transient: it may work later. Permanent: the provider does not have it (any more).
    """
    url = f"{_base(sender)}/{quote(media_id, safe='')}?phone_number_id={sender.settings['phone_number_id']}"
    said = _said(_request("GET", url, headers=_auth(sender)))
    link = said.get("url")
    if not isinstance(link, str) or not link:
        raise Transient("the provider did not say where the file is", code="media_no_url")
    # A text by the documents, a number in the field.
    size = str(said.get("file_size"))
    return Found(
        link,
        said.get("mime_type") if isinstance(said.get("mime_type"), str) else None,
        said.get("sha256") if isinstance(said.get("sha256"), str) else None,
        int(size) if size.isdecimal() else None,
    )


@contextmanager
def opened(sender: Sender, url: str) -> Iterator[Download]:
    """Open a file where `find` found it. The token goes to the provider's own hosts, and no redirect is followed.

    Raises:
        Transient: it may work later, with another `find`. Permanent: the address is not the provider's.
    """
    if not _is_theirs(sender, url):
        raise Permanent("the file is on a host that is not the provider's: see MEDIA_HOSTS", code="media_host")
    headers = {**_auth(sender), "Accept-Encoding": "identity"}
    try:
        with http.download(url, timeout=settings().file_timeout, headers=headers) as answer:
            if answer.status != 200:
                # 404 is an address past its five minutes, or a token that is not accepted.
                raise Transient(f"the download was answered {answer.status}", code=f"media_http_{answer.status}")
            yield answer
    except (NotSent, NoAnswer) as error:
        raise Transient(f"the download broke off: {error}", code="media_no_answer") from None


def upload(sender: Sender, content: Callable[[], BinaryIO], *, size: int, mime_type: str, filename: str) -> str:
    """Bring a file to the provider and return its id there, which lives 30 days.

    Args:
        content: opens the file; once for each try.
        size: of the file, in bytes.

    Raises:
        Transient: it may work later; as `Stopped`, not before a person has seen to it. Permanent: the provider does not
            take it.
    """
    form = _Form({"messaging_product": "whatsapp", "type": mime_type}, content, size, mime_type, filename)
    headers = {**_auth(sender), "Content-Type": f"multipart/form-data; boundary={form.boundary}"}
    url = f"{_base(sender)}/{sender.settings['phone_number_id']}/media"
    said = _said(_request("POST", url, data=form, headers=headers, timeout=settings().file_timeout))
    if not said.get("id"):
        raise Transient("the provider gave the file no id", code="media_no_id")
    return str(said["id"])


class _Form:
    """A form with a file, made while it is sent: `requests` would hold all of it in memory."""

    def __init__(
        self, fields: dict[str, str], content: Callable[[], BinaryIO], size: int, mime_type: str, filename: str
    ) -> None:
        self.boundary = uuid.uuid4().hex
        named = filename.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
        parts.append(
            f'Content-Disposition: form-data; name="file"; filename="{named}"\r\nContent-Type: {mime_type}\r\n\r\n'
        )
        self._head = "".join(f"--{self.boundary}\r\n{part}\r\n" for part in parts[:-1]).encode()
        self._head += f"--{self.boundary}\r\n{parts[-1]}".encode()
        self._tail = f"\r\n--{self.boundary}--\r\n".encode()
        self._content, self._size = content, size

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with self._content() as file:
            while piece := file.read(_PIECE):
                yield piece
        yield self._tail


def _request(method: str, url: str, **options: Any) -> Answer:
    try:
        return http.request(method, url, **options)
    except (NotSent, NoAnswer) as error:
        raise Transient(f"the provider did not answer: {error}", code="media_no_answer") from None


def _said(answer: Answer) -> dict[str, Any]:
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise Transient(f"the provider answered {answer.status}", code=f"media_http_{answer.status}")
    error = said.get("error")
    if not isinstance(error, dict):
        return said
    code = error.get("code")
    if not isinstance(code, int):
        raise Transient(f"the provider answered {answer.status}", code=f"media_http_{answer.status}")
    if code == 100 and error.get("error_subcode") == 33:
        raise Permanent("the provider does not have this file (any more)", code="media_gone")
    no = refusal(code, str(error.get("message", "")))
    text, name = f"{no.code}: {no.message}", f"whatsapp:{no.code}"
    # A token that is not accepted is mended by a person, and the file is still there for days.
    if no.action in (Action.MESSAGE, Action.PERSON):
        raise Permanent(text, code=name)
    if no.action is Action.STOP:
        raise Stopped(no, text, code=name)
    raise Transient(text, code=name)


def _is_theirs(sender: Sender, url: str) -> bool:
    """Say whether an address is the channel's own, or of a host that gets tokens, over TLS."""
    try:
        # As the library reads it that connects: another could see another host in the same text.
        there, own = urllib3.util.parse_url(url), urllib3.util.parse_url(sender.base_url)
    except ValueError:
        return False
    if there.auth is not None:
        return False
    if (there.scheme, there.host, there.port) == (own.scheme, own.host, own.port):
        return True
    host = there.host or ""
    named = any(host == known or host.endswith(f".{known}") for known in settings().media_hosts)
    return there.scheme == "https" and there.port in (None, 443) and named


def _base(sender: Sender) -> str:
    return f"{sender.base_url}/{sender.settings['api_version']}"


def _auth(sender: Sender) -> dict[str, str]:
    return {"Authorization": f"Bearer {sender.credentials['access_token']}"}
