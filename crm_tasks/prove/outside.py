"""What must be true between us and a stand-in for the provider that keeps a log of all it received."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core import db
from crm_tasks.core.errors import ConfigError
from crm_tasks.messages.models import Direction, Message, MessageState
from crm_tasks.prove.invariant import Invariant
from crm_tasks.providers import http
from crm_tasks.workspaces.models import Channel

_PAGE = 1_000
# How far the sandbox's clock and the database's may be apart.
_CLOCKS = timedelta(minutes=1)
_SENT = (MessageState.ACCEPTED, MessageState.SENT, MessageState.DELIVERED, MessageState.READ, MessageState.PLAYED)
_MAY_BE = (MessageState.UNKNOWN, MessageState.SENDING, MessageState.FAILED)


def invariants(url: str) -> tuple[Invariant, ...]:
    """Return what is checked against the log of a sandbox at this URL."""
    return (
        Invariant("received = accepted", "The sandbox received just what we say was accepted.", _compared(url)),
        Invariant("received once", "The sandbox received no message twice.", _doubled(url)),
    )


def _received(url: str) -> dict[str, list[str]]:
    """Return the provider ids that the sandbox gave, by our message id."""
    received: dict[str, list[str]] = defaultdict(list)
    since = 0
    while True:
        page = _log(url, kind="message", since=since, limit=_PAGE)
        for entry in page["data"]:
            if entry["message_id"] and entry["biz_opaque_callback_data"]:
                received[entry["biz_opaque_callback_data"]].append(entry["message_id"])
        if not page["data"]:
            return dict(received)
        since = page["next"]


def _log(url: str, **query: object) -> Any:
    try:
        answer = http.request("GET", f"{url.rstrip('/')}/_sandbox/log?{urlencode(query)}")
        return orjson.loads(answer.body)
    except (http.NotSent, http.NoAnswer, orjson.JSONDecodeError) as error:
        raise ConfigError(f"The sandbox at {url} did not give its log: {error}") from None


def _forgotten_until(url: str) -> datetime | None:
    """Return up to when the sandbox may have forgotten what it received: it keeps its newest entries only."""
    first = _log(url, limit=1)["data"]
    return datetime.fromisoformat(first[0]["time"]) + _CLOCKS if first and first[0]["seq"] > 1 else None


def _ours(url: str) -> dict[str, sa.Row]:
    """Return our messages, in a transaction of its own: none stays open while the sandbox is asked."""
    query = (
        sa.select(Message.id, Message.state, Message.provider_id, Message.accepted_at)
        .join(Channel, Channel.id == Message.channel_id)
        .where(Message.direction == Direction.OUT, Channel.base_url == url.rstrip("/"))
    )
    with db.transaction() as session:
        return {str(row.id): row for row in session.execute(query)}


def _compared(url: str) -> Callable[[Session, timedelta], Iterator[str]]:
    def check(_session: Session, _grace: timedelta) -> Iterator[str]:
        # Before and after the log: what is sent while this looks is no contradiction.
        before, forgotten = _ours(url), _forgotten_until(url)
        received = _received(url)
        after = _ours(url)
        for message_id, row in before.items():
            kept = forgotten is None or row.accepted_at is None or row.accepted_at > forgotten
            if kept and row.state in _SENT and row.provider_id not in received.get(message_id, ()):
                yield f"{message_id} is {row.state}, but the sandbox never gave it {row.provider_id}"
        for message_id in received:
            if message_id not in after:
                yield f"the sandbox received {message_id}, which is not ours"
            elif after[message_id].state not in (*_SENT, *_MAY_BE):
                yield f"{message_id} is {after[message_id].state}, but the sandbox received it"

    return check


def _doubled(url: str) -> Callable[[Session, timedelta], Iterator[str]]:
    def check(_session: Session, _grace: timedelta) -> Iterator[str]:
        for message_id, provider_ids in _received(url).items():
            if len(provider_ids) > 1:
                yield f"{message_id} was received {len(provider_ids)} times"

    return check
