"""Sending through the WhatsApp Cloud API. A send has three results: accepted, refused, or nobody knows."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from crm_tasks.core.errors import Permanent, Transient
from crm_tasks.providers import http
from crm_tasks.providers.http import Answer, NoAnswer, NotSent
from crm_tasks.providers.whatsapp.errors import Action, Refusal, refusal


@dataclass(frozen=True, slots=True)
class Sender:
    """The number that sends, and what lets it."""

    base_url: str
    api_version: str
    phone_number_id: str
    access_token: str

    def __repr__(self) -> str:
        return f"Sender({self.phone_number_id})"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the message and will report on it under this id. It is not delivered yet."""

    provider_id: str
    wa_id: str | None = None
    bsuid: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request left and no clear answer came: never to be repeated blindly, as there is no idempotency key."""

    reason: str


Result = Accepted | Refusal | Unknown


def send(sender: Sender, message: dict[str, Any], *, callback_data: str) -> Result:
    """Send one message.

    Args:
        message: `to` or `recipient`, `type` and the type's object, as the Cloud API has them.
        callback_data: our id of the message; every status webhook of it brings it back.
    """
    body = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **message,
        "biz_opaque_callback_data": callback_data,
    }
    url = f"{sender.base_url}/{sender.api_version}/{sender.phone_number_id}/messages"
    headers = {"Authorization": f"Bearer {sender.access_token}", "Content-Type": "application/json"}
    try:
        answer = http.request("POST", url, data=orjson.dumps(body), headers=headers)
    except NotSent as error:
        return Refusal(Action.RETRY, -1, f"no connection: {error}")
    except NoAnswer as error:
        return Unknown(str(error))
    return _result(answer)


def mark_read(sender: Sender, provider_id: str, *, typing: bool) -> None:
    """Mark a customer's message, and those before it, as read; with `typing`, show for 25 s that somebody types.

    It may be repeated, so that no answer is simply tried again (Meta, "Mark messages as read", "Typing indicators").

    Raises:
        Transient: it may work later. Permanent: it never will.
    """
    body: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": provider_id}
    if typing:
        body["typing_indicator"] = {"type": "text"}
    url = f"{sender.base_url}/{sender.api_version}/{sender.phone_number_id}/messages"
    headers = {"Authorization": f"Bearer {sender.access_token}", "Content-Type": "application/json"}
    try:
        answer = http.request("POST", url, data=orjson.dumps(body), headers=headers)
    except (NotSent, NoAnswer) as error:
        raise Transient(f"the provider did not answer: {error}", code="no_answer") from None
    if answer.status != 200:
        raise _not_read(_result(answer))


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
