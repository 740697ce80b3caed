"""SMS through a JSON gateway: `POST {base_url}/send-sms` with a bearer token, and its signed callbacks.

There is no standard for such gateways. What is here is the sensible reading of HTTP: 2xx is accepted unless the body
says otherwise, 4xx is a no, and what is no clear answer may have been sent.
"""

import hmac
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from crm_tasks.config import settings
from crm_tasks.providers import http, sms_errors, sms_parts
from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from crm_tasks.providers.provider import (
    Accepted,
    Action,
    Address,
    Callback,
    Inbound,
    Malformed,
    Need,
    Outgoing,
    Provider,
    Refusal,
    Report,
    Result,
    Sender,
    Unknown,
)

SIGNATURE_HEADER = "X-Signature-256"
_AGAIN, _OURS = (408, 425, 429), (401, 403)
_IDS = ("id", "messageId", "sid")
_FAILED = ("failed", "undelivered", "rejected", "expired")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


def send(sender: Sender, out: Outgoing) -> Result:
    """Hand one text to the gateway."""
    base_url = (sender.base_url or settings().sms_api_url).rstrip("/")
    if not base_url:
        return Refusal(Action.STOP, 0, "the channel has no base_url, and SMS_API_URL is not set")
    told = body(sender, out)
    if not told["contactId"] or not told["workspaceId"]:
        return Refusal(Action.MESSAGE, 0, "there is no contact or no workspace to name")
    headers = {
        "Authorization": f"Bearer {sender.credentials['token']}",
        "Content-Type": "application/json",
        "Idempotency-Key": out.id,
    }
    try:
        answer = http.request("POST", f"{base_url}/send-sms", data=orjson.dumps(told), headers=headers)
    except NotSent as error:
        return Refusal(Action.RETRY, -1, f"no connection: {error}")
    except NoAnswer as error:
        return _silent(sender, -1, f"no answer: {error}")
    return _result(sender, out, answer)


def body(sender: Sender, out: Outgoing) -> dict[str, Any]:
    """Return a text as the gateway takes it. Ids that the caller has of its own go instead of ours."""
    external = out.content.get("external") or {}
    told = {
        **(out.content.get("metadata") or {}),
        "to": out.to.value,
        "message": out.content["body"],
        "contactId": external.get("contactId") or out.contact_id,
        "workspaceId": external.get("workspaceId") or out.workspace_id,
        "idempotencyKey": out.id,
    }
    if sender.credentials.get("callback_secret"):  # without one, no callback would be believed
        told["callbackUrl"] = f"{settings().outside_url}/webhooks/sms/{sender.channel_id}"
    return told


def verify(sender: Sender, callback: Callback) -> bool:
    """Say whether a callback is signed: `X-Signature-256: sha256=` and the hex HMAC-SHA256 of the body."""
    secret = sender.credentials.get("callback_secret")
    if not secret:
        return False
    given = callback.headers.get(SIGNATURE_HEADER, "")
    wanted = "sha256=" + hmac.digest(secret.encode(), callback.body, "sha256").hex()
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace"))


def parse(body: bytes) -> list[Report | Inbound]:
    """Return what a callback says: `messageId` and `status` of a text of ours, or `from` and `message` of a person's.

    Raises:
        Malformed: neither.
    """
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Malformed("not JSON") from None
    if not isinstance(told, dict):
        raise Malformed("not a JSON object")
    provider_id, status = _id(told), _text(told, "status").lower()
    text = _text(told, "message", "text", "body")
    if told.get("type") == "inbound" or (not status and _text(told, "from")):
        if not provider_id or not _text(told, "from"):
            raise Malformed("a text without an id or a sender")
        return [Inbound(provider_id, Address("phone", phone(_text(told, "from"))), text, _moment(told))]
    own_id = _text(told, "idempotencyKey") or None
    if not status or not (provider_id or own_id):
        raise Malformed("neither a status of a message nor a text")
    return [_report(told, status, provider_id, own_id)]


def phone(number: str) -> str:
    """Return a number with its plus; what is too short for one, such as a short code, stays as it is."""
    digits = number.removeprefix("+")
    return f"+{digits}" if digits.isascii() and digits.isdecimal() and 7 < len(digits) < 16 else number


def retry_after(answer: Answer) -> timedelta | None:
    """Return the wait that an answer asks for, an hour at most."""
    given = answer.headers.get("Retry-After", "")
    return timedelta(seconds=min(int(given), 3600)) if given.isascii() and given.isdecimal() else None


def _result(sender: Sender, out: Outgoing, answer: Answer) -> Result:
    status = answer.status
    if 200 <= status < 300:
        return _taken(out, answer)
    if status in _AGAIN:
        return Refusal(Action.RETRY, -status, f"HTTP {status}", retry_after(answer))
    if status in _OURS:
        return Refusal(Action.STOP, -status, f"HTTP {status}: the token is not accepted")
    if 300 <= status < 400:
        return Refusal(Action.STOP, -status, f"HTTP {status}: the gateway is at another address")
    if 400 <= status < 500:
        return _no(status, _object(answer.body))
    return _silent(sender, -status, f"HTTP {status}", retry_after(answer))


def _taken(out: Outgoing, answer: Answer) -> Result:
    said = _object(answer.body)
    if said is None:
        return Unknown(f"HTTP {answer.status} that is not the gateway's") if answer.body.strip() else Accepted(out.id)
    if said.get("success") is False:
        return _no(answer.status, said)
    return Accepted(_id(said) or out.id)  # without an id of its own, callbacks name ours


def _no(status: int, said: Mapping[str, Any] | None) -> Refusal:
    """Return a no to this message. The gateway's words may hold a number or the text: only its code is quoted."""
    code = said.get("code") if said else None
    if isinstance(code, int) and code in sms_errors.TABLE:
        action, meaning = sms_errors.TABLE[code]
        return Refusal(action, code, meaning, verdict=sms_errors.verdict(code))
    shown = f": {code}" if isinstance(code, str | int) and _CODE.fullmatch(str(code)) else ""
    return Refusal(Action.MESSAGE, -status, f"HTTP {status}, the gateway refuses this message{shown}")


def _silent(sender: Sender, code: int, reason: str, wait: timedelta | None = None) -> Result:
    """It may have been sent. The same again is harmless only where the gateway is known to heed the key."""
    if str(sender.settings.get("idempotent", "")).lower() in ("true", "yes", "1", "on"):
        return Refusal(Action.RETRY, code, reason, wait)
    return Unknown(reason)


def _report(told: Mapping[str, Any], status: str, provider_id: str | None, own_id: str | None) -> Report:
    failed = status in _FAILED
    code = told.get("errorCode")
    code = code if isinstance(code, int) else 0
    return Report(
        status="failed" if failed else status,
        provider_id=provider_id,
        message_id=own_id,
        recipient=phone(_text(told, "to")),
        at=_moment(told),
        error={"code": code, "title": sms_errors.meaning(code)} if failed else None,
        verdict=sms_errors.verdict(code) if failed else None,
    )


def _id(said: Mapping[str, Any]) -> str | None:
    """Return the gateway's id of a message, wherever it puts it."""
    data = said.get("data")
    for place, names in ((said, _IDS), (data if isinstance(data, dict) else {}, ("id",))):
        for name in names:
            if isinstance(value := place.get(name), str | int) and not isinstance(value, bool) and str(value).strip():
                return str(value)[:500]
    return None


def _text(told: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := told.get(name), str) and value.strip()), "")


def _moment(told: Mapping[str, Any]) -> datetime | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(_text(told, "timestamp"))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


PROVIDER = Provider(
    kind="sms",
    medium="sms",
    reaches=("phone",),
    types=("text",),
    needs=(
        Need("token", "The bearer token of the gateway.", secret=True),
        Need("callback_secret", "What its callbacks are signed with; without it none is taken.", True, required=False),
        Need("idempotent", "`true` if the gateway heeds the key: what got no answer is asked again.", required=False),
    ),
    send=send,
    verify=verify,
    parse=parse,
    measure=sms_parts.measure,
)
