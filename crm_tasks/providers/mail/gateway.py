"""Mail through a JSON gateway: `POST {base_url}/send-email` with a bearer token.

No standard exists for such gateways. What is here is the sensible reading of HTTP: 2xx is accepted unless the body says
otherwise; 4xx is a no to this message, except those that a wait mends; what is not an answer may have been sent.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import formataddr
from typing import Any

import orjson

from crm_tasks.providers import http
from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from crm_tasks.providers.mail.compose import ID_HEADER, Mail
from crm_tasks.providers.provider import Accepted, Action, Refusal, Result, Unknown

_AGAIN = (408, 425, 429)
_OURS = (401, 403)
_IDS = ("id", "messageId", "message_id")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, and whether it knows an Idempotency-Key: then what got no answer may be asked again."""

    base_url: str
    token: str = field(repr=False)
    idempotent: bool = False


def send(gateway: Gateway, mail: Mail, more: Mapping[str, Any]) -> Result:
    """Hand one message to a gateway.

    Args:
        more: what else the gateway is told, such as `contactId` and `workspaceId`; it never overrides the mail.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(mail.message_id)}
    if gateway.token:
        headers["Authorization"] = f"Bearer {gateway.token}"
    url = f"{gateway.base_url.rstrip('/')}/send-email"
    try:
        answer = http.request("POST", url, data=orjson.dumps({**more, **body(mail)}), headers=headers)
    except NotSent as error:
        return Refusal(Action.RETRY, -1, f"no connection: {error}")
    except NoAnswer as error:
        return _silent(gateway, -1, f"no answer: {error}", None)
    return _result(gateway, mail, answer)


def body(mail: Mail) -> dict[str, Any]:
    """Return a message as a gateway takes it."""
    headers = {**mail.headers, ID_HEADER: str(mail.message_id)}
    if mail.unsubscribe_url:  # RFC 8058
        headers["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    found: dict[str, Any] = {
        "to": mail.to,
        "from": formataddr((mail.sender_name, mail.sender)),
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "headers": headers,
        "messageId": str(mail.message_id),
    }
    if mail.reply_to:
        found["replyTo"] = mail.reply_to
    if mail.attachments:
        found["attachments"] = [
            {"filename": each.name, "contentType": each.media_type, "content": b64encode(each.data).decode()}
            for each in mail.attachments
        ]
    return found


def _result(gateway: Gateway, mail: Mail, answer: Answer) -> Result:
    status, wait = answer.status, _retry_after(answer)
    if 200 <= status < 300:
        return _accepted(mail, answer)
    if status in _AGAIN:
        return Refusal(Action.RETRY, -status, f"HTTP {status}", wait)
    if status in _OURS:
        return Refusal(Action.STOP, -status, f"HTTP {status}: the token is not accepted")
    if 300 <= status < 400 or status == 404:
        return Refusal(Action.STOP, -status, f"HTTP {status}: there is no gateway at this address")
    if status < 500:
        return Refusal(Action.MESSAGE, -status, f"HTTP {status}: the gateway refuses this message")
    return _silent(gateway, -status, f"HTTP {status}", wait)


def _accepted(mail: Mail, answer: Answer) -> Result:
    try:
        said = orjson.loads(answer.body) if answer.body.strip() else {}
    except orjson.JSONDecodeError:
        said = {}
    said = said if isinstance(said, dict) else {}
    if said.get("success") is False:
        return Refusal(Action.MESSAGE, -answer.status, "the gateway says that it failed")
    data = said.get("data")
    for place in (said, data if isinstance(data, dict) else {}):
        for name in _IDS:
            if isinstance(value := place.get(name), str | int) and not isinstance(value, bool):
                return Accepted(str(value)[:500])
    return Accepted(str(mail.message_id))  # it gave no id: callbacks then name ours


def _silent(gateway: Gateway, code: int, reason: str, wait: timedelta | None) -> Result:
    """It may have been sent. The same again is harmless only where the Idempotency-Key is understood."""
    return Refusal(Action.RETRY, code, reason, wait) if gateway.idempotent else Unknown(reason)


def _retry_after(answer: Answer) -> timedelta | None:
    given = answer.headers.get("Retry-After", "")
    return timedelta(seconds=min(int(given), 3600)) if given.isascii() and given.isdecimal() else None
