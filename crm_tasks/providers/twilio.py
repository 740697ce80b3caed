"""SMS through Twilio: a form with basic auth, statuses and texts back as signed forms.

Source: Twilio, "Messages resource", "Track outbound message status" and "Webhooks security".
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from crm_tasks.config import settings
from crm_tasks.providers import http, sms_errors, sms_parts
from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from crm_tasks.providers.provider import (
    CHECK_TIMEOUT,
    Accepted,
    Action,
    Address,
    Callback,
    Checked,
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
from crm_tasks.providers.sms import retry_after

BASE_URL, VERSION = "https://api.twilio.com", "2010-04-01"
SIGNATURE_HEADER = "X-Twilio-Signature"
# Twilio's words; those of the time before it is sent say nothing that we do not know.
_STATUSES = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
_EARLIER = ("accepted", "scheduled", "queued", "sending")
_MOST_FIELDS = 500
_PORTS = {"https": 443, "http": 80}


def send(sender: Sender, out: Outgoing) -> Result:
    """Hand one text to Twilio, which knows no idempotency key: what gets no clear answer may have been sent."""
    account = sender.settings["account_sid"]
    form = {"To": out.to.value, "Body": out.content["body"]}
    if service := sender.settings.get("messaging_service_sid"):
        form["MessagingServiceSid"] = service
    elif number := sender.settings.get("from"):
        form["From"] = number
    else:
        return Refusal(Action.STOP, 21603, "the channel has neither from nor messaging_service_sid")
    if settings().public_url or sender.base_url:  # Twilio itself refuses an address that only this machine knows
        form["StatusCallback"] = f"{settings().outside_url}/webhooks/sms/{sender.channel_id}"
    url = f"{sender.base_url or BASE_URL}/{VERSION}/Accounts/{account}/Messages.json"
    try:
        answer = http.request("POST", url, data=form, auth=(account, sender.credentials["auth_token"]))
    except NotSent as error:
        return Refusal(Action.RETRY, -1, f"no connection: {error}")
    except NoAnswer as error:
        return Unknown(str(error))
    return _result(answer)


def check(sender: Sender) -> Checked:
    """Ask Twilio about the account."""
    account = sender.settings["account_sid"]
    url = f"{sender.base_url or BASE_URL}/{VERSION}/Accounts/{account}.json"
    try:
        answer = http.request("GET", url, auth=(account, sender.credentials["auth_token"]), timeout=CHECK_TIMEOUT)
    except (NotSent, NoAnswer) as error:
        return Checked(False, f"no answer: {error}")
    said = _object(answer.body)
    if answer.status == 200 and said.get("sid"):
        return Checked(said.get("status") == "active", f"{said.get('friendly_name')}, {said.get('status')}")
    no = _result(answer)
    return Checked(False, f"{no.code}: {no.message}" if isinstance(no, Refusal) else f"HTTP {answer.status}")


def verify(sender: Sender, callback: Callback) -> bool:
    """Say whether a callback is Twilio's: over the address and, of a form, its fields; of JSON, its hash is in there.

    Twilio leaves out a port that goes without saying or writes it, and not always as it was told: both are tried.
    """
    given = callback.headers.get(SIGNATURE_HEADER, "").encode("utf-8", "replace")
    try:
        parts = urlsplit(callback.url)
        hashes = parse_qs(parts.query).get("bodySHA256")
        fields = {} if hashes else _form(callback.body)
        urls = [callback.url, *_with_other_port(callback.url)]
    except ValueError:
        return False
    if hashes and not hmac.compare_digest(sha256(callback.body).hexdigest().encode(), hashes[0].lower().encode()):
        return False
    if not hashes and not fields:  # then nothing but the address would be signed
        return False
    token = sender.credentials["auth_token"]
    return any(hmac.compare_digest(signature(token, url, fields).encode(), given) for url in urls)


def signature(token: str, url: str, fields: Mapping[str, list[str]]) -> str:
    """Return the value of X-Twilio-Signature for an address and the fields of a form."""
    signed = url + "".join(name + value for name in sorted(fields) for value in sorted(set(fields[name])))
    return b64encode(hmac.digest(token.encode(), signed.encode("utf-8", "replace"), "sha1")).decode()


def parse(body: bytes) -> list[Report | Inbound]:
    """Return what a callback says: a status of a text of ours, or a person's text.

    Raises:
        Malformed: neither.
    """
    told = _told(body)
    provider_id = told.get("MessageSid") or told.get("SmsSid")
    if not provider_id:
        raise Malformed("no MessageSid")
    status = (told.get("MessageStatus") or told.get("SmsStatus") or "").lower()
    if "Body" in told and status in ("", "received", "receiving"):
        if not told.get("From"):
            raise Malformed("a text without a sender")
        words = [told["Body"], *(value for name, value in sorted(told.items()) if name.startswith("MediaUrl"))]
        text = "\n".join(word for word in words if word)
        return [Inbound(provider_id, Address("phone", told["From"]), text)]
    if not status:
        raise Malformed("neither a status nor a text")
    return [] if status in _EARLIER else [_report(provider_id, status, told)]


def _report(provider_id: str, status: str, told: Mapping[str, str]) -> Report:
    known = _STATUSES.get(status, status)
    given = told.get("ErrorCode", "")
    code = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 0
    failed = known == "failed"
    return Report(
        status=known,
        provider_id=provider_id,
        recipient=told.get("To", ""),
        error={"code": code, "title": sms_errors.meaning(code) if code else status} if failed else None,
        verdict=sms_errors.verdict(code) if failed else None,
    )


def _result(answer: Answer) -> Result:
    said = _object(answer.body)
    if 200 <= answer.status < 300:
        sid = said.get("sid")
        return Accepted(sid) if isinstance(sid, str) and sid else Unknown(f"HTTP {answer.status} without a sid")
    code = said.get("code")
    if answer.status == 429 or code == 20429:
        return Refusal(Action.RETRY, 20429, sms_errors.meaning(20429), retry_after(answer))
    if answer.status >= 500 or answer.status < 400:
        return Unknown(f"HTTP {answer.status} that is no clear answer")
    if answer.status == 401:
        code = 20003
    if not isinstance(code, int):
        return Refusal(Action.MESSAGE, -answer.status, f"HTTP {answer.status}")
    action, meaning = sms_errors.TABLE.get(code, (Action.MESSAGE, sms_errors.meaning(code)))
    return Refusal(action, code, meaning, retry_after(answer), verdict=sms_errors.verdict(code))


def _told(body: bytes) -> dict[str, str]:
    if not body.lstrip().startswith(b"{"):
        try:
            return {name: values[0] for name, values in _form(body).items()}
        except ValueError:
            raise Malformed("not a form") from None
    return {name: value for name, value in _object(body).items() if isinstance(value, str)}


def _form(body: bytes) -> dict[str, list[str]]:
    text = body.decode("utf-8", "replace")
    return parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)


def _with_other_port(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    usual = _PORTS.get(parts.scheme)
    if parts.port is None:
        yield parts._replace(netloc=f"{parts.netloc}:{usual}").geturl()
    else:
        yield parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


PROVIDER = Provider(
    kind="twilio",
    medium="sms",
    reaches=("phone",),
    types=("text",),
    needs=(
        Need("account_sid", "The SID of the account."),
        Need("auth_token", "Its auth token, which also signs the callbacks.", secret=True),
        Need("from", "The number or name that sends; or give messaging_service_sid.", required=False),
        Need("messaging_service_sid", "The SID of a messaging service, which chooses the number.", required=False),
    ),
    send=send,
    check=check,
    verify=verify,
    parse=parse,
    measure=sms_parts.measure,
)
