"""What an agent says in a conversation: a text, a file, a template; once, however often the form is sent."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.orm import Session

from crm_tasks.contacts import directory
from crm_tasks.core import idempotency
from crm_tasks.core.errors import Invalid
from crm_tasks.messages.models import Conversation, Message, MessageState
from crm_tasks.messages.service import history, outbox
from crm_tasks.providers.provider import Action
from crm_tasks.providers.whatsapp import errors
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

AUTHOR = "agent"
# Before campaigns and what the API sends: somebody waits for it.
PRIORITY = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is to be said."""

    conversation: Conversation
    channel: Channel


def place(session: Session, workspace_id: uuid.UUID, conversation_id: uuid.UUID) -> Place:
    """Return where something is to be said.

    Raises:
        NotFound: no such conversation here. Conflict: the person was erased.
    """
    conversation, contact = history.conversation(session, workspace_id, conversation_id)
    if contact is not None:
        directory.require_present(contact)
    return Place(conversation, workspaces.channel(session, workspace_id, conversation.channel_id))


def first(session: Session, where: Place, form: str, said: Mapping[str, Any]) -> bool:
    """Say whether this was not said here by the same form before; two at once wait for each other.

    Args:
        form: the id that the form has had since it was shown.

    Raises:
        Invalid: not an id.
    """
    try:
        uuid.UUID(form)
    except ValueError:
        raise Invalid("This form is not complete: open the conversation again.", code="bad_form") from None
    body = orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS)
    conversation = where.conversation
    key = f"reply:{conversation.id}:{form}:{hashlib.sha256(body).hexdigest()[:32]}"
    if idempotency.begin(session, conversation.workspace_id, key, body) is not None:
        return False
    idempotency.remember(session, conversation.workspace_id, key, 202, None)
    return True


def say(session: Session, where: Place, type: str, content: dict[str, Any]) -> Message:
    """Accept a message.

    Raises:
        Invalid, Conflict: as `outbox.send_in` says, such as a window that is closed.
    """
    new = outbox.NewMessage(type=type, content=content, author=AUTHOR, priority=PRIORITY)
    return outbox.send_in(session, where.channel, where.conversation.id, where.conversation.contact_id, new)


def advice(message: Message) -> str:
    """Return what a person is to do about a message that did not get through; nothing about one that may."""
    if message.state is MessageState.SUPPRESSED:
        return "The person has refused this kind of message: see on their page what they want."
    if message.state is MessageState.UNKNOWN:
        return "It may have arrived. Look at the phone or ask, then decide under Unknown sends."
    if message.state is not MessageState.FAILED:
        return ""
    code = (message.error or {}).get("code")
    if code == errors.WINDOW_CLOSED:
        return "Send a template: free text may only be sent within 24 hours of the customer's last message."
    if not isinstance(code, int) or not errors.is_known(code) or code < 0:
        return "Look at the reason, and send it again."
    action = errors.refusal(code).action
    return errors.remedy(code) if action is Action.STOP else _ADVICE[action]


_ADVICE = {
    Action.RETRY: "It was tried several times. Send it again later.",
    Action.PAIR: "Too much was sent to this person at once. Send it again in a while.",
    Action.LATER: "Send it again tomorrow, or by another channel.",
    Action.MESSAGE: "Sent as it is, it will fail again: change what the reason says, then send it anew.",
    Action.PERSON: "This person cannot be reached here: try another channel.",
    Action.UNKNOWN: "Ask whether it arrived before you send it again.",
}
