"""The mails that were taken: the newest, as bytes, with what a list shows of them. Nothing a mail says is trusted."""

import email
import email.policy
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesHeaderParser

from sandbox.fields import Json
from sandbox.log import iso

KEPT = 2000
BYTES_KEPT = 64 * 1024 * 1024
_PREVIEW = 998
_HEADERS = BytesHeaderParser(policy=email.policy.compat32)


class Mail:
    """One mail: its envelope, its bytes, and its headers in short."""

    __slots__ = ("header_from", "header_to", "id", "message_id", "raw", "recipients", "sender", "subject", "t", "via")

    def __init__(self, event: Json) -> None:
        self.id: str = event["id"]
        self.t: float = event["t"]
        self.via: str = event["via"]
        self.sender: str = event["sender"]
        self.recipients: list[str] = event["recipients"]
        self.raw = b64decode(event["raw"])
        headers = _HEADERS.parsebytes(self.raw)
        self.subject = readable(headers.get("Subject"))
        self.header_from = readable(headers.get("From"))
        self.header_to = readable(headers.get("To"))
        self.message_id = readable(headers.get("Message-ID"))

    def facts(self) -> Json:
        """Return what brings it back."""
        return facts(self.id, self.t, self.via, self.sender, self.recipients, self.raw)

    def public(self) -> Json:
        """Return what a list shows of it."""
        return {
            "id": self.id,
            "time": iso(self.t),
            "via": self.via,
            "mail_from": self.sender,
            "rcpt_to": self.recipients,
            "from": self.header_from,
            "to": self.header_to,
            "subject": self.subject,
            "message_id": self.message_id,
            "size": len(self.raw),
        }

    def parsed(self) -> EmailMessage:
        """Return it with all its parts."""
        found = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(found, EmailMessage)
        return found


class Mailbox:
    """The mails by id, the oldest first."""

    def __init__(self) -> None:
        self._mails: OrderedDict[str, Mail] = OrderedDict()
        self._bytes = 0
        self.total = 0

    def put(self, facts: Json) -> None:
        """Take a mail in, and let the oldest go when there are too many."""
        mail = Mail(facts)
        self.total += 1
        self._mails[mail.id] = mail
        self._bytes += len(mail.raw)
        while len(self._mails) > KEPT or (self._bytes > BYTES_KEPT and len(self._mails) > 1):
            self._bytes -= len(self._mails.popitem(last=False)[1].raw)

    def get(self, mail_id: str) -> Mail | None:
        """Return a mail, or None when it is not kept any more."""
        return self._mails.get(mail_id)

    def newest(self, limit: int, recipient: str = "", words: str = "") -> list[Mail]:
        """Return mails, the newest first: those of a recipient, those with a text in what a list shows."""
        found: list[Mail] = []
        for mail in reversed(self._mails.values()):
            if len(found) == limit:
                break
            fits = not recipient or recipient.lower() in (each.lower() for each in mail.recipients)
            if (
                fits
                and words.lower() in f"{mail.header_from} {mail.header_to} {mail.subject} {mail.recipients}".lower()
            ):
                found.append(mail)
        return found

    def restore(self, event: Json) -> None:
        """Apply a `mail` event: one that was there when the journal was rewritten."""
        self.put(event["mail"])
        self.total = event["total"]

    def snapshot(self) -> Iterator[Json]:
        """Yield the events that bring every mail back."""
        return ({"k": "mail", "total": self.total, "mail": mail.facts()} for mail in tuple(self._mails.values()))


def facts(mail_id: str, t: float, via: str, sender: str, recipients: list[str], raw: bytes) -> Json:
    """Return a mail as an event holds it."""
    return {
        "id": mail_id,
        "t": t,
        "via": via,
        "sender": sender,
        "recipients": recipients,
        "raw": b64encode(raw).decode(),
    }


def readable(value: object) -> str:
    """Return a header as a person reads it, whatever was sent."""
    text = " ".join(str(value or "").split())
    with suppress(LookupError, ValueError):
        text = str(make_header(decode_header(text)))
    return text.encode("utf-8", "replace").decode()[:_PREVIEW]
