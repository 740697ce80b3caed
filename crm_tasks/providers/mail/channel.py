"""Channels of the kinds `smtp` and `email_api` as the rest of the system sees them: send, verify, parse."""

import hmac
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from crm_tasks.config import settings
from crm_tasks.core.text import storable
from crm_tasks.providers.mail import codes, compose, dsn, gateway, smtp, unsubscribe
from crm_tasks.providers.mail.compose import Attachment, Mail
from crm_tasks.providers.mail.dsn import Returned, What
from crm_tasks.providers.mail.gateway import Gateway
from crm_tasks.providers.mail.smtp import PORTS, Security, Server
from crm_tasks.providers.provider import (
    Action,
    Callback,
    Checked,
    Inbound,
    Malformed,
    Outgoing,
    Refusal,
    Report,
    Result,
    Sender,
)

# How a mail begins: with a header field (RFC 5322, 2.2).
_FIELD = re.compile(rb"[!-9;-~]+:")
SIGNATURE_HEADER = "X-Signature-256"
# What gateways call what became of a message: (our status, what it says about the person).
_STATUSES: dict[str, tuple[str, str | None]] = {
    "sent": ("sent", None),
    "delivered": ("delivered", None),
    "open": ("read", None),
    "opened": ("read", None),
    "read": ("read", None),
    "failed": ("failed", None),
    "rejected": ("failed", None),
    "dropped": ("failed", None),
    "undelivered": ("failed", None),
    "bounce": ("failed", "bounced"),
    "bounced": ("failed", "bounced"),
    "spam": ("delivered", "complained"),
    "complaint": ("delivered", "complained"),
    "complained": ("delivered", "complained"),
}
_AT_MOST = 1000


def by_smtp(sender: Sender, out: Outgoing) -> Result:
    """Send one message through a mail server."""
    mail = _mail(sender, out)
    try:
        server = _server(sender)
    except _BadChannel as error:
        return Refusal(Action.STOP, -1, str(error))
    return _unsound(mail) or smtp.send(server, compose.compose(mail))


def check_smtp(sender: Sender) -> Checked:
    """See whether the mail server takes us."""
    try:
        return smtp.check(_server(sender))
    except _BadChannel as error:
        return Checked(False, str(error))


def by_gateway(sender: Sender, out: Outgoing) -> Result:
    """Send one message through a JSON gateway."""
    base_url = sender.base_url or settings().email_api_url
    if not base_url:
        return Refusal(Action.STOP, -1, "the channel has no base_url, and EMAIL_API_URL is not set")
    found = Gateway(base_url, sender.credentials.get("access_token", ""), _true(sender.settings.get("idempotent")))
    external = out.content.get("external") or {}
    more = {
        **(out.content.get("metadata") or {}),
        "contactId": external.get("contactId") or out.contact_id,
        "workspaceId": external.get("workspaceId") or out.workspace_id,
        "idempotencyKey": out.id,
        "category": out.category,
    }
    if sender.credentials.get("callback_secret"):  # without one, no callback would be believed
        more["callbackUrl"] = f"{settings().outside_url}/webhooks/email/{sender.channel_id}"
    mail = _mail(sender, out)
    return _unsound(mail) or gateway.send(found, mail, more)


class _BadChannel(Exception):
    """The channel's own values do not allow to send."""


def _unsound(mail: Mail) -> Refusal | None:
    """Look again at what was looked at when it was accepted: the channel may have changed, and no header slips by."""
    problems = compose.problems(mail)
    if not problems:
        return None
    return Refusal(Action.MESSAGE, -1, f"the message cannot be written: {problems[0].field} is not valid")


def _mail(sender: Sender, out: Outgoing) -> Mail:
    content, own = out.content, sender.settings
    headers = dict(content.get("headers") or {})
    if out.context_id:
        headers |= {"In-Reply-To": out.context_id, "References": out.context_id}
    return Mail(
        message_id=uuid.UUID(out.id),
        at=datetime.now(UTC),
        sender=own.get("from_address", ""),
        sender_name=own.get("from_name", ""),
        to=out.to.value,
        subject=content.get("subject") or "",
        html=content.get("html") or "",
        text=content.get("text") or "",
        reply_to=content.get("reply_to") or own.get("reply_to", ""),
        return_path=own.get("return_path", ""),
        unsubscribe_url=_unsubscribe_url(out),
        headers=headers,
        attachments=[
            Attachment(each["name"], each["media_type"], each["data"]) for each in content.get("attachments") or ()
        ],
    )


def _unsubscribe_url(out: Outgoing) -> str:
    """Marketing can be left with one click; an invoice cannot."""
    if out.category != "marketing":
        return ""
    contact_id = uuid.UUID(out.contact_id) if out.contact_id else None
    leaving = unsubscribe.Leaving(
        uuid.UUID(out.workspace_id), contact_id, out.to.value, out.category, uuid.UUID(out.id)
    )
    return unsubscribe.url(leaving)


def _server(sender: Sender) -> Server:
    own = sender.settings
    try:
        security = Security(own.get("security") or Security.STARTTLS)
    except ValueError:
        raise _BadChannel(f"the channel's security must be one of {', '.join(Security)}") from None
    port = str(PORTS[security] if own.get("port") in (None, "") else own["port"])
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise _BadChannel("the channel's port must be a number from 1 to 65535")
    password = sender.credentials.get("password", "")
    return Server(own.get("host", ""), int(port), security, own.get("user", ""), password, own.get("cafile", ""))


# --- what comes back ---------------------------------------------------------------------------------------------


def verify(sender: Sender, callback: Callback) -> bool:
    """Say whether a callback is signed with the channel's secret: `X-Signature-256: sha256=<hex>` over the raw body."""
    secret = sender.credentials.get("callback_secret", "")
    given = next((value for name, value in callback.headers.items() if name.lower() == SIGNATURE_HEADER.lower()), "")
    right = "sha256=" + hmac.digest(secret.encode(), callback.body, "sha256").hex()
    return bool(secret) and hmac.compare_digest(right.encode(), given.strip().encode("utf-8", "replace"))


def parse(body: bytes) -> list[Report | Inbound]:
    """Return what a callback reports: a gateway's JSON, or a mail that came back.

    Raises:
        Malformed: it is neither.
    """
    try:
        said = storable(orjson.loads(body))
    except orjson.JSONDecodeError:
        if not _FIELD.match(body.lstrip()):
            raise Malformed("neither JSON nor a mail") from None
        return [_returned(each) for each in dsn.parse(body) if each.what is not What.DELAYED]
    events = said.get("events", [said]) if isinstance(said, dict) else said
    if not isinstance(events, list) or len(events) > _AT_MOST:
        raise Malformed(f"not a report, nor a list of at most {_AT_MOST}")
    return [found for event in events if (found := _reported(event)) is not None]


def _returned(found: Returned) -> Report:
    message_id = str(found.message_id) if found.message_id else None
    if found.what is not What.FAILED:
        verdict = "complained" if found.what is What.COMPLAINED else None
        return Report("delivered", None, message_id, found.recipient, verdict=verdict)
    title = f"{found.status} {found.meaning}".strip()
    verdict = codes.VERDICTS.get(found.kind) if found.kind else None
    return Report("failed", None, message_id, found.recipient, error=_error(found.status, title), verdict=verdict)


def _reported(event: Any) -> Report | None:
    """Return what one event of a gateway says; None if it is of no interest, such as `deferred`."""
    if not isinstance(event, dict):
        raise Malformed("a report that is not an object")
    name = str(event.get("status") or event.get("event") or "").lower()
    given = next((event[key] for key in ("messageId", "id", "message_id") if event.get(key)), None)
    if not isinstance(given, str | int) or not name:
        raise Malformed("a report without messageId or status")
    if name not in _STATUSES:
        return None
    status, verdict = _STATUSES[name]
    at, recipient, error = _moment(event.get("timestamp")), str(event.get("to") or "")[:320], None
    if status == "failed":
        error, verdict = _failure(event, verdict)
    provider_id = str(given)[:500]
    return Report(status, provider_id, _own_id(provider_id), recipient, at, error, verdict)


def _failure(event: Mapping[str, Any], verdict: str | None) -> tuple[dict[str, Any], str | None]:
    """Return why a message failed; the code knows better than the word `bounced`, which full mailboxes do too."""
    said, code = str(event.get("error") or "")[:500], event.get("errorCode")
    status = codes.enhanced(said)
    number = int(code) if isinstance(code, int | str) and str(code).isascii() and str(code).isdecimal() else 0
    if not status and not number:
        return _error("", said or "the gateway says that it failed"), verdict
    kind, meaning = codes.meaning(number, status)
    if number and number < 500:
        return _error(status or str(number), "the time for delivery ran out"), None
    return _error(status or str(number), meaning), codes.VERDICTS.get(kind)


def _error(code: str, title: str) -> dict[str, Any]:
    return {"code": code or "failed", "title": title}


def _moment(given: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(given) if isinstance(given, str) else datetime.fromtimestamp(given, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _own_id(given: str) -> str | None:
    """Return an id that is ours, as gateways that give none of their own have to name it."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        return None


def _true(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")
