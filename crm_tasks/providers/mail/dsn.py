"""What comes back by mail: bounces (RFC 3464), complaints (RFC 5965), and answers of machines, which are neither.

Fields decide, never the text. Whoever wrote it is a stranger: size and nesting are bounded before a parser sees it.
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, message_from_string
from email.message import Message
from email.utils import parseaddr
from enum import StrEnum

from crm_tasks.core.text import clean
from crm_tasks.providers.mail import codes
from crm_tasks.providers.mail.codes import Kind
from crm_tasks.providers.mail.compose import ID_HEADER
from crm_tasks.providers.provider import Malformed

MAX_BYTES = 3 * 1024 * 1024
# A bounce has three parts, and what it returns may have some. A parser's work grows with lines times depth.
_MAX_PARTS = 40
_NESTING = re.compile(rb"boundary|message/(?:rfc822|global|delivery|feedback)", re.IGNORECASE)
_UUID = r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"
# Our return path is `local+<id>@domain`, our Message-ID `<id@domain>`.
_IN_ADDRESS = re.compile(rf"\+({_UUID})@", re.IGNORECASE)
_IN_ID = re.compile(rf"<?\s*({_UUID})@", re.IGNORECASE)
_BARE = re.compile(_UUID, re.IGNORECASE)
_COMPLAINTS = ("abuse", "fraud", "opt-out", "opt-out-list", "virus", "other")


class What(StrEnum):
    """What a mail that came back says of one of ours."""

    DELIVERED = "delivered"
    DELAYED = "delayed"
    FAILED = "failed"
    COMPLAINED = "complained"


@dataclass(frozen=True, slots=True)
class Returned:
    """One recipient's fate. `recipient` may differ from the address we wrote to, as mail is passed on."""

    what: What
    message_id: uuid.UUID | None
    recipient: str = ""
    status: str = ""
    kind: Kind | None = None
    meaning: str = ""


def parse(body: bytes) -> list[Returned]:
    """Return what a mail says of ours; nothing if it is a person's or a machine's answer.

    Raises:
        Malformed: too big, nested too deep, or a report that cannot be read.
    """
    if len(body) > MAX_BYTES:
        raise Malformed(f"larger than {MAX_BYTES // 1024**2} MB")
    if len(_NESTING.findall(body)) > _MAX_PARTS:
        raise Malformed("too many parts in each other")
    try:
        message = message_from_bytes(body)
        return list(_report(message))
    except (ValueError, LookupError, RecursionError, AttributeError, TypeError) as error:
        raise Malformed(f"cannot be read as mail: {type(error).__name__}") from None


def _report(message: Message) -> Iterator[Returned]:
    payload = message.get_payload()
    parts = [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else []
    # Only what is directly in it: a report that somebody forwards is that person's mail.
    kinds = {part.get_content_type(): part for part in reversed(parts)}
    if feedback := kinds.get("message/feedback-report"):
        yield from _complaint(message, parts, feedback)
    elif status := kinds.get("message/delivery-status") or kinds.get("message/global-delivery-status"):
        yield from _statuses(message, parts, status)


def _statuses(message: Message, parts: list[Message], status: Message) -> Iterator[Returned]:
    blocks = _blocks(status)
    about_all = blocks[0] if blocks else Message()
    message_id = _find_id(message, parts, _field(about_all, "Original-Envelope-Id"))
    recipients = [block for block in blocks if block.get("Action")]
    if not recipients:
        raise Malformed("a delivery report without an action")
    for block in recipients:
        what = _what(_field(block, "Action").lower())
        if what is not None:
            yield _fate(what, message_id, block)


def _what(action: str) -> What | None:
    """RFC 3464, 2.3.3. What was relayed or expanded says nothing of its end."""
    return {"failed": What.FAILED, "delayed": What.DELAYED, "delivered": What.DELIVERED}.get(action)


def _fate(what: What, message_id: uuid.UUID | None, block: Message) -> Returned:
    recipient = _field(block, "Final-Recipient") or _field(block, "Original-Recipient")
    address = parseaddr(recipient.partition(";")[2].strip() or recipient)[1]
    status = codes.enhanced(_field(block, "Status")) or ""
    if what is not What.FAILED:
        return Returned(what, message_id, address, status)
    kind, meaning = codes.meaning(_reply_code(_field(block, "Diagnostic-Code")), status or None)
    if status.startswith("4"):  # given up after many tries: they ran out of time, the address may be good
        kind, meaning = (kind, meaning) if kind is Kind.FULL else (Kind.AGAIN, "the time for delivery ran out")
    return Returned(what, message_id, address, status, kind, meaning)


def _reply_code(diagnostic: str) -> int:
    """Return the reply of the server that refused: `smtp; 550 5.1.1 …`. Asked only where the status says nothing."""
    match = re.match(r"smtp\s*;\s*([45]\d\d)\b", diagnostic, re.IGNORECASE)
    return int(match[1]) if match else 0


def _complaint(message: Message, parts: list[Message], feedback: Message) -> Iterator[Returned]:
    blocks = _blocks(feedback)
    if not blocks:
        raise Malformed("a feedback report without fields")
    fields = blocks[0]
    kind = _field(fields, "Feedback-Type").lower()
    if kind in _COMPLAINTS:  # and not `not-spam` nor `auth-failure`
        recipient = parseaddr(_field(fields, "Original-Rcpt-To") or _field(fields, "Removal-Recipient"))[1]
        message_id = _find_id(
            message, parts, _field(fields, "Original-Envelope-Id"), _field(fields, "Original-Mail-From")
        )
        yield Returned(What.COMPLAINED, message_id, recipient, meaning=f"reported as {kind}")


# --- fields ------------------------------------------------------------------------------------------------------


def _blocks(part: Message) -> list[Message]:
    """Return the groups of fields of a machine's part: parsed already for some types, text for others."""
    payload = part.get_payload()
    if isinstance(payload, list):
        return [block for block in payload if isinstance(block, Message)]
    text = _text(part)
    return [message_from_string(block) for block in re.split(r"\r?\n\r?\n", text.strip()) if block.strip()]


def _text(part: Message) -> str:
    data = part.get_payload(decode=True)
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else str(part.get_payload())


def _field(fields: Message, name: str) -> str:
    return clean(" ".join(str(fields.get(name, "")).split()))[:1000]


def _find_id(message: Message, parts: list[Message], envelope_id: str, mail_from: str = "") -> uuid.UUID | None:
    """Return which message of ours came back: by its envelope, by whom the report is for, by the headers returned."""
    if match := _BARE.fullmatch(envelope_id):
        return uuid.UUID(match[0])
    if match := _IN_ADDRESS.search(mail_from):
        return uuid.UUID(match[1])
    for name in ("To", "Delivered-To", "X-Original-To", "Envelope-To"):
        if match := _IN_ADDRESS.search(_field(message, name)):
            return uuid.UUID(match[1])
    for headers in _returned(parts):
        found = _BARE.fullmatch(_field(headers, ID_HEADER)) or _IN_ID.match(_field(headers, "Message-ID"))
        found = found or _IN_ADDRESS.search(_field(headers, "Return-Path"))
        if found:
            return uuid.UUID(found[found.lastindex or 0])
    match = _IN_ID.match(_field(message, "In-Reply-To"))
    return uuid.UUID(match[1]) if match else None


def _returned(parts: list[Message]) -> Iterator[Message]:
    for part in parts:
        kind, payload = part.get_content_type(), part.get_payload()
        if kind in ("message/rfc822", "message/global") and isinstance(payload, list):
            yield from (each for each in payload[:1] if isinstance(each, Message))
        elif kind in ("text/rfc822-headers", "message/global-headers", "text/rfc822"):
            yield message_from_string(_text(part).lstrip("\r\n"))
