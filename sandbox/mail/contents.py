"""What is in a mail: headers, text, HTML and files, as the page shows them. A broken mail shows what can be read."""

import re
from base64 import b64encode
from dataclasses import dataclass
from email.message import EmailMessage

from sandbox.fields import Json
from sandbox.mail.mailbox import Mail, readable

_CID = re.compile(r"cid:([^\s\"'<>)]+)", re.IGNORECASE)
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


@dataclass(frozen=True, slots=True)
class File:
    """A part that is neither the text nor the HTML."""

    name: str
    mime_type: str
    content_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """A mail taken apart."""

    headers: list[list[str]]
    text: str | None
    html: str | None
    files: list[File]

    def public(self) -> Json:
        """Return it as scripts read it."""
        files = [
            {"n": n, "name": file.name, "type": file.mime_type, "size": len(file.data)}
            for n, file in enumerate(self.files)
        ]
        return {"headers": self.headers, "text": self.text, "html": self.html, "attachments": files}

    def page(self) -> str | None:
        """Return the HTML with its inline images in it."""
        inline = {file.content_id: file for file in self.files if file.content_id and file.mime_type in _IMAGES}

        def image(found: re.Match[str]) -> str:
            file = inline.get(found.group(1))
            return f"data:{file.mime_type};base64,{b64encode(file.data).decode()}" if file else found.group()

        return None if self.html is None else _CID.sub(image, self.html)


def contents(mail: Mail) -> Contents:
    """Take a mail apart."""
    message = mail.parsed()
    text: str | None = None
    html: str | None = None
    files: list[File] = []
    for part in message.walk():
        kind = part.get_content_type()
        if part.is_multipart() and kind != "message/rfc822":
            continue
        attached = part.get_content_disposition() == "attachment"
        if kind == "text/plain" and text is None and not attached:
            text = _text(part)
        elif kind == "text/html" and html is None and not attached:
            html = _text(part)
        else:
            content_id = str(part.get("Content-ID") or "").strip("<> ")
            files.append(File(_name(part, len(files)), kind, content_id, _data(part)))
    return Contents([[name, readable(value)] for name, value in message.raw_items()], text, html, files)


def _text(part: EmailMessage) -> str:
    """Return the text of a part, also when its character set is unknown."""
    data = _data(part)
    try:
        found = data.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        found = data.decode("utf-8", "replace")
    return found.replace("\r\n", "\n")


def _data(part: EmailMessage) -> bytes:
    if part.is_multipart():
        return b"".join(inner.as_bytes() for inner in part.iter_parts() if isinstance(inner, EmailMessage))
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _name(part: EmailMessage, n: int) -> str:
    try:
        return readable(part.get_filename()) or f"part-{n + 1}"
    except (LookupError, ValueError):
        return f"part-{n + 1}"
