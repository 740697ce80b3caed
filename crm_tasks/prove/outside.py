"""What must be true between us and a stand-in for the provider that keeps a log of all it received."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.errors import ConfigError
from crm_tasks.messages.models import Direction, Message, MessageState
from crm_tasks.prove.invariant import Invariant
from crm_tasks.providers import http
from crm_tasks.workspaces.models import Channel

_PAGE = 1_000
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
        try:
            answer = http.request("GET", f"{url.rstrip('/')}/_sandbox/log?kind=message&since={since}&limit={_PAGE}")
            page = orjson.loads(answer.body)
        except (http.NotSent, http.NoAnswer, orjson.JSONDecodeError) as error:
            raise ConfigError(f"The sandbox at {url} did not give its log: {error}") from None
        for entry in page["data"]:
            if entry["message_id"] and entry["biz_opaque_callback_data"]:
                received[entry["biz_opaque_callback_data"]].append(entry["message_id"])
        if not page["data"]:
            return dict(received)
        since = page["next"]


def _compared(url: str) -> Callable[[Session], Iterator[str]]:
    def check(session: Session) -> Iterator[str]:
        received = _received(url)
        query = sa.select(Message.id, Message.state, Message.provider_id).join(
            Channel, Channel.id == Message.channel_id
        )
        ours = {
            str(row.id): row
            for row in session.execute(
                query.where(Message.direction == Direction.OUT, Channel.base_url == url.rstrip("/"))
            )
        }
        for message_id, row in ours.items():
            if row.state in _SENT and row.provider_id not in received.get(message_id, ()):
                yield f"{message_id} is {row.state}, but the sandbox never gave it {row.provider_id}"
            elif row.state not in _MAY_BE and row.state not in _SENT and message_id in received:
                yield f"{message_id} is {row.state}, but the sandbox received it"
        for message_id in received.keys() - ours.keys():
            yield f"the sandbox received {message_id}, which is not ours"

    return check


def _doubled(url: str) -> Callable[[Session], Iterator[str]]:
    def check(_session: Session) -> Iterator[str]:
        for message_id, provider_ids in _received(url).items():
            if len(provider_ids) > 1:
                yield f"{message_id} was received {len(provider_ids)} times"

    return check
