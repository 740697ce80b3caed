"""Sending through the WhatsApp Cloud API. A send has three results: accepted, refused, or nobody knows."""

from datetime import timedelta
from typing import Any

import orjson

from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.providers import http, loop
from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from crm_tasks.providers.provider import (
    CHECK_TIMEOUT,
    Accepted,
    Action,
    Address,
    Checked,
    Outgoing,
    Refusal,
    Result,
    Sender,
    Unknown,
)
from crm_tasks.providers.whatsapp.errors import refusal


def send(sender: Sender, out: Outgoing) -> Result:
    """Send one message, and wait for the answer."""
    return loop.submit(send_async(sender, out)).result()


async def send_async(sender: Sender, out: Outgoing) -> Result:
    """Send one message. Our id goes along as `biz_opaque_callback_data`: every status webhook brings it back."""
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "group" if out.to.kind == "group" else "individual",
        **_recipient(out.to),
        "type": out.type,
        # Cards are kept as part of an object, and sent as the list that they are.
        out.type: out.content["contacts"] if out.type == "contacts" else out.content,
        "biz_opaque_callback_data": out.id,
    }
    if out.context_id:
        body["context"] = {"message_id": out.context_id}
    try:
        answer = await loop.request("POST", _url(sender), data=orjson.dumps(body), headers=_headers(sender))
    except NotSent as error:
        return Refusal(Action.RETRY, -1, f"no connection: {error}")
    except NoAnswer as error:
        return Unknown(str(error))
    return _result(answer)


def _url(sender: Sender) -> str:
    return f"{_number_url(sender)}/messages"


def _number_url(sender: Sender) -> str:
    return f"{sender.base_url}/{sender.settings['api_version']}/{sender.settings['phone_number_id']}"


def _headers(sender: Sender) -> dict[str, str]:
    return {"Authorization": f"Bearer {sender.credentials['access_token']}", "Content-Type": "application/json"}


def _recipient(to: Address) -> dict[str, str]:
    """Return whom a message is for. Without `+` Meta would prepend the country of the business (send-messages)."""
    if to.kind in ("bsuid", "parent_bsuid"):
        return {"recipient": to.value}
    return {"to": f"+{to.value}" if to.kind == "wa_id" else to.value}


def mark_read(sender: Sender, provider_id: str, typing: bool) -> None:
    """Mark a customer's message, and those before it, as read; with `typing`, show for 25 s that somebody types.

    It may be repeated, so that no answer is simply tried again (Meta, "Mark messages as read", "Typing indicators").

    Raises:
        Transient: it may work later. Permanent: it never will.
    """
    body: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": provider_id}
    if typing:
        body["typing_indicator"] = {"type": "text"}
    try:
        answer = http.request("POST", _url(sender), data=orjson.dumps(body), headers=_headers(sender))
    except (NotSent, NoAnswer) as error:
        raise Transient(f"the provider did not answer: {error}", code="no_answer") from None
    if answer.status != 200:
        raise _not_read(_result(answer))


# What a number is asked for when it is checked, and how it is said (Meta, "WhatsApp Business phone number").
_TOLD = {"verified_name": "", "display_phone_number": "", "quality_rating": "quality ", "status": ""}


def check(sender: Sender) -> Checked:
    """Ask what Meta knows of the number."""
    try:
        answer = http.request(
            "GET",
            _number_url(sender),
            params={"fields": ",".join(_TOLD)},
            headers=_headers(sender),
            timeout=CHECK_TIMEOUT,
        )
    except (NotSent, NoAnswer) as error:
        return Checked(False, f"no answer: {error}")
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        return Checked(False, f"HTTP {answer.status} that is not the provider's")
    if answer.status == 200 and said.get("id"):
        return Checked(True, ", ".join(f"{name}{said[key]}" for key, name in _TOLD.items() if said.get(key)))
    no = _result(answer)
    return Checked(False, f"{no.code}: {no.message}" if isinstance(no, Refusal) else f"HTTP {answer.status}")


def _not_read(no: Result) -> Transient | Permanent:
    if not isinstance(no, Refusal):
        return Transient("the provider gave no clear answer", code="no_answer")
    text, code = f"{no.code}: {no.message}", f"whatsapp:{no.code}"
    if no.action in (Action.MESSAGE, Action.PERSON):
        return Permanent(text, code=code)
    return Transient(text, code=code, retry_after=no.retry_after)


def _result(answer: Answer) -> Result:
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        return _without_json(answer)
    if isinstance(said.get("error"), dict):
        return _error(answer, said["error"])
    try:
        provider_id = said["messages"][0]["id"]
    except (KeyError, IndexError, TypeError):
        return Unknown(f"HTTP {answer.status} without a message id")
    contacts = said.get("contacts")
    contact = contacts[0] if isinstance(contacts, list) and contacts and isinstance(contacts[0], dict) else {}
    return Accepted(str(provider_id), _text(contact.get("wa_id")), _text(contact.get("user_id")))


def _without_json(answer: Answer) -> Result:
    """An answer that is not the Graph API's: a gateway's, and it may have passed the request on."""
    if answer.status == 429:
        return Refusal(Action.RETRY, -429, "too many requests", _retry_after(answer))
    if 400 <= answer.status < 500:
        return Refusal(Action.MESSAGE, -answer.status, f"HTTP {answer.status}")
    return Unknown(f"HTTP {answer.status} that is not the provider's")


def _error(answer: Answer, error: dict[str, Any]) -> Result:
    code = error.get("code")
    if not isinstance(code, int):
        return Unknown(f"HTTP {answer.status} with an error without code")
    found = refusal(code, str(error.get("message", "")), _retry_after(answer))
    return Unknown(f"{code}: {found.message}") if found.action is Action.UNKNOWN else found


def _retry_after(answer: Answer) -> timedelta | None:
    given = answer.headers.get("Retry-After", "")
    return timedelta(seconds=min(int(given), 3600)) if given.isdecimal() else None


def _text(value: Any) -> str | None:
    return str(value) if value else None
