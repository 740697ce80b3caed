"""What one report of a provider does to one message. No database here: a row may be a model or a few of its columns."""

import uuid
from datetime import datetime
from typing import Any, Protocol

from crm_tasks.core.log import get_logger
from crm_tasks.core.types import new_id
from crm_tasks.messages.models import RANK, MessageState
from crm_tasks.providers.whatsapp.webhook import Status
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

REACHED = {
    MessageState.SENT: "sent_at",
    MessageState.DELIVERED: "delivered_at",
    MessageState.READ: "read_at",
    MessageState.PLAYED: "played_at",
    MessageState.FAILED: "failed_at",
}
STATES = {state.value: state for state in REACHED}
Key = tuple[str, str, str, str | None]


class Reported(Protocol):
    """A message as far as reports change it; it has the moments of `REACHED` too."""

    id: Any
    provider_id: Any
    state: Any
    error: Any


def furthest(current: MessageState, reported: MessageState) -> MessageState:
    """Return the further of two states; what only we know (queued, sending, unknown …) is behind every report."""
    return max(current, reported, key=lambda state: RANK.get(state, 0))


def own_id(callback_data: str | None) -> uuid.UUID | None:
    """Return the message id that we sent along, if it is one of ours."""
    try:
        return uuid.UUID(callback_data) if callback_data else None
    except ValueError:
        return None


def key(status: Status) -> Key:
    """Return what makes a report the same as another: providers repeat them."""
    return status.id, status.status, status.recipient, status.detail.get("verdict")


def row(
    channel: Channel,
    status: Status,
    event_id: uuid.UUID,
    message_id: uuid.UUID | None,
    moment: datetime,
    *,
    erased: bool = False,
) -> dict[str, Any]:
    """Return what is kept of a report: of one whose person was erased, not who it was."""
    return {
        "id": new_id(),
        "workspace_id": channel.workspace_id,
        "channel_id": channel.id,
        "message_id": message_id,
        "provider_id": status.id,
        "status": status.status,
        "recipient": "" if erased else status.recipient,
        "occurred_at": status.at or moment,
        "event_id": event_id,
        "detail": {} if erased else status.detail,
    }


def is_first(status: Status, message: Reported | None) -> bool:
    """Say whether a message has never been reported as this."""
    state = STATES.get(status.status)
    return message is not None and state is not None and getattr(message, REACHED[state]) is None


def show(message: Reported, row: dict[str, Any]) -> bool:
    """Let a message show a report; the first report of each status gives its time. True if its state is another."""
    if row.get("provider_id") != str(message.id):  # a report may know no other id than ours
        message.provider_id = message.provider_id or row.get("provider_id")
    state = STATES.get(row["status"])
    if state is None:
        return False
    column = REACHED[state]
    known = getattr(message, column)
    setattr(message, column, min(known, row["occurred_at"]) if known else row["occurred_at"])
    further = furthest(message.state, state)
    if state is MessageState.FAILED and further is not MessageState.FAILED:
        log.info("status.failed_after_delivery", message_id=str(message.id))
    if further is MessageState.FAILED:
        message.error = error_of(row["detail"]) or message.error
    elif further in RANK:
        message.error = None
    before, message.state = message.state, further
    return further is not before


def error_of(detail: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first error of a report in one shape; providers write it flat or nested."""
    errors = detail.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else None
    if first is None:
        return None
    data = first.get("error_data")
    details = data.get("details") if isinstance(data, dict) else first.get("details")
    return {"code": first.get("code"), "title": first.get("title") or first.get("message"), "details": details}
