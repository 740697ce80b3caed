"""An e-mail from its parts. Nothing that a person wrote can become a header of its own: line breaks are refused.

The same message composed twice has the same Message-ID, so that a repeated one is seen to be the same.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from email_validator import EmailNotValidError, validate_email

from crm_tasks.core.errors import FieldError
from crm_tasks.providers.mail import plain

MAX_SUBJECT, MAX_HEADER = 998, 998
MAX_ATTACHMENTS, MAX_ATTACHED = 10, 20 * 1024 * 1024
MAX_BODY = 1024 * 1024
ID_HEADER = "X-CRM-Message"
# 7 bits and CRLF pass every server. Refolding would turn a long URL into an encoded word, which nobody can open.
_POLICY = policy.SMTP.clone(cte_type="7bit", refold_source="none")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,100}")
# What we write ourselves, what routes a message, and what servers on the way write.
_OURS = {
    "from", "sender", "to", "cc", "bcc", "subject", "date", "message-id", "reply-to", "return-path", "received",
    "mime-version", "list-unsubscribe", "list-unsubscribe-post", "dkim-signature", "arc-seal",
    "arc-message-signature", "arc-authentication-results", "authentication-results", "delivered-to",
    "x-original-to", "errors-to", "disposition-notification-to", "return-receipt-to", ID_HEADER.lower(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message."""

    name: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """Everything that is in a message."""

    message_id: uuid.UUID
    at: datetime
    sender: str
    to: str
    subject: str
    html: str = ""
    text: str = ""
    sender_name: str = ""
    reply_to: str = ""
    # Where bounces go; our id is put into it. Without one they go to the sender.
    return_path: str = ""
    unsubscribe_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[Attachment] = ()


@dataclass(frozen=True, slots=True)
class Composed:
    """A message as it goes over the wire, and its envelope."""

    message_id: uuid.UUID
    sender: str
    to: str
    data: bytes = field(repr=False)


def compose(mail: Mail) -> Composed:
    """Write a message.

    Raises:
        ValueError: a part is not what `problems` accepts.
    """
    message = EmailMessage(_POLICY)
    message["From"] = _address(mail.sender, mail.sender_name)
    message["To"] = _address(mail.to)
    message["Subject"] = mail.subject
    if mail.reply_to:
        message["Reply-To"] = _address(mail.reply_to)
    domain = normal(mail.sender).rpartition("@")[2]
    sender = return_path(mail.return_path or normal(mail.sender), mail)
    fixed = {"Date": format_datetime(mail.at), "Message-ID": f"<{mail.message_id}@{domain}>"}
    fixed[ID_HEADER] = str(mail.message_id)
    if mail.unsubscribe_url:  # RFC 8058; the https address takes a POST
        fixed["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
        fixed["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    for name, value in [*fixed.items(), *mail.headers.items()]:
        if _CONTROL.search(name + value):
            raise ValueError(f"a line break in {name!r}")
        if value.isascii():
            message.set_raw(name, value)
        else:
            message[name] = value
    _body(message, mail)
    return Composed(mail.message_id, sender, normal(mail.to), message.as_bytes())


def _body(message: EmailMessage, mail: Mail) -> None:
    text = mail.text or plain.of_html(mail.html)
    message.set_content(text or "\n")
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    for attachment in mail.attachments:
        kind, _, subtype = attachment.media_type.partition("/")
        message.add_attachment(attachment.data, maintype=kind, subtype=subtype, filename=attachment.name)


def return_path(address: str, mail: Mail) -> str:
    """Return where a bounce of this message goes: its id stands behind a plus, so that the bounce names it."""
    if not mail.return_path:
        return address
    local, _, domain = address.rpartition("@")
    return f"{local}+{mail.message_id.hex}@{domain}"


# --- what is accepted --------------------------------------------------------------------------------------------


def normal(address: str) -> str:
    """Return an address as it is compared and kept: the domain in ASCII, all of it in lower case.

    Raises:
        ValueError: says what is wrong with it.
    """
    try:
        # No question to a DNS server here; `.test` is what people try things out with.
        found = validate_email(address.strip(), check_deliverability=False, allow_smtputf8=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    return (found.ascii_email or found.normalized).lower()


def problems(mail: Mail) -> list[FieldError]:
    """Return what is wrong with a message, each with its field and what to do."""
    found = [*_addresses(mail), *_headers(mail.headers), *_attached(mail.attachments)]
    if not mail.subject.strip():
        found.append(FieldError("subject", "Write a subject."))
    elif len(mail.subject) > MAX_SUBJECT:
        found.append(FieldError("subject", f"At most {MAX_SUBJECT} characters."))
    found += _one_line("subject", mail.subject)
    if not mail.html.strip() and not mail.text.strip():
        found.append(FieldError("html", "Write html, text, or both."))
    for name in ("html", "text"):
        if len(getattr(mail, name).encode("utf-8", "replace")) > MAX_BODY:
            found.append(FieldError(name, f"At most {MAX_BODY // 1024} kB."))
    return found


def _addresses(mail: Mail) -> list[FieldError]:
    found: list[FieldError] = []
    for name in ("sender", "to", "reply_to", "return_path"):
        value = getattr(mail, name)
        if not value and name in ("reply_to", "return_path"):
            continue
        try:
            normal(value)
        except ValueError as error:
            found.append(FieldError(name, f"{error} Write an address such as ann@example.com.", "bad_address"))
    return found + _one_line("sender_name", mail.sender_name)


def _headers(headers: Mapping[str, str]) -> list[FieldError]:
    found: list[FieldError] = []
    for name, value in headers.items():
        place = f"headers.{name[:76]}"
        if not _NAME.fullmatch(name):
            found.append(FieldError(place, "A header's name is of letters, digits and hyphens."))
        elif name.lower() in _OURS or name.lower().startswith(("content-", "resent-")):
            found.append(FieldError(place, "This header is written by the system: leave it out."))
        if len(value) > MAX_HEADER:
            found.append(FieldError(place, f"At most {MAX_HEADER} characters."))
        found += _one_line(place, value)
    return found


def _attached(attachments: Sequence[Attachment]) -> list[FieldError]:
    found: list[FieldError] = []
    if len(attachments) > MAX_ATTACHMENTS:
        found.append(FieldError("attachments", f"At most {MAX_ATTACHMENTS} files."))
    if sum(len(each.data) for each in attachments) > MAX_ATTACHED:
        found.append(FieldError("attachments", f"At most {MAX_ATTACHED // 1024**2} MB together."))
    for number, each in enumerate(attachments):
        place = f"attachments.{number}"
        if not each.name.strip() or len(each.name) > 255:
            found.append(FieldError(f"{place}.name", "Give the file a name of at most 255 characters."))
        if not _MEDIA_TYPE.fullmatch(each.media_type) or each.media_type.startswith(("multipart/", "message/")):
            found.append(FieldError(f"{place}.media_type", "Write a media type such as application/pdf."))
        found += _one_line(f"{place}.name", each.name)
    return found


def _one_line(name: str, value: str) -> list[FieldError]:
    """Line breaks would begin another header; other control characters have no business in one either."""
    if _CONTROL.search(value):
        return [FieldError(name, "Write it on one line, without control characters.", "line_break")]
    try:
        value.encode()
    except UnicodeEncodeError:
        return [FieldError(name, "Half a character is in it: write it anew.")]
    return []


def _address(address: str, name: str = "") -> Address:
    local, _, domain = normal(address).rpartition("@")
    return Address(name, local, domain)
