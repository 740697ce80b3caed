"""What is known of messages at the moment of sending, in a few statements however many there are.

The rules of the last look judge by it. `prospects` are messages that do not exist yet: what would speak against them.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import dumps
from crm_tasks.core.errors import DomainError
from crm_tasks.core.queues import queue_of
from crm_tasks.messages.models import Category, MessageState
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Address, Provider
from crm_tasks.templates import service as templates
from crm_tasks.templates.models import Template
from crm_tasks.workspaces import credentials, policies
from crm_tasks.workspaces.models import Channel

_LOOK = """
    SELECT crm_now() AS now, m.*, v.last_inbound_at, v.human_since, v.human_by, v.group_id, p.time_zone,
        known.identities,
        (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.id) FROM suppressions s
         WHERE s.workspace_id = m.workspace_id AND s.active AND s.address = ANY(known.values)) AS suppressions,
        (SELECT jsonb_agg(to_jsonb(h) ORDER BY h.id) FROM holds h
         WHERE h.released_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > crm_now())
           AND h.scope = ANY(ARRAY['all', 'workspace:' || m.workspace_id, 'channel:' || m.channel_id,
                                   'conversation:' || m.conversation_id, 'contact:' || m.contact_id])) AS holds
    FROM ({of}) AS m
    LEFT JOIN conversations v ON {conversation}
    LEFT JOIN contacts p ON p.id = m.contact_id
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(i.kind, i.value ORDER BY i.created_at, i.id) AS identities,
               array_agg(i.value) AS values
        FROM identities i WHERE i.contact_id = m.contact_id AND i.retired_at IS NULL) known ON true
"""
_COLUMNS = (
    "id, workspace_id, channel_id, conversation_id, contact_id, state, claim_no, type, content, category, author, "
    "context_provider_id, fallback, fallback_of, parts, trace_id, scheduled_for"
)
_MESSAGES = _LOOK.format(
    of=f"SELECT {_COLUMNS} FROM messages WHERE id = ANY(:ids) ORDER BY id {{lock}}",  # noqa: S608  our own names
    conversation="v.id = m.conversation_id",
)
_PROSPECTS = _LOOK.format(
    of="""
        SELECT CAST(NULL AS uuid) AS id, c.workspace_id, CAST(:channel_id AS uuid) AS channel_id,
            CAST(NULL AS uuid) AS conversation_id, c.id AS contact_id, 'planned' AS state,
            CAST(NULL AS int) AS claim_no, CAST(:type AS text) AS type, CAST(:content AS jsonb) AS content,
            CAST(:category AS text) AS category,
            CAST(:author AS text) AS author, CAST(NULL AS text) AS context_provider_id,
            CAST(NULL AS jsonb) AS fallback, CAST(NULL AS uuid) AS fallback_of, CAST(NULL AS int) AS parts,
            CAST(NULL AS uuid) AS trace_id, CAST(NULL AS timestamptz) AS scheduled_for
        FROM contacts c WHERE c.id = ANY(:ids)
    """,
    conversation="v.channel_id = m.channel_id AND v.contact_id = m.contact_id",
).replace("m.*,", "m.*, v.id AS talk_id,")


class Shared:
    """What the looks of one transaction have in common: each thing is asked for once, for all of them."""

    def __init__(self, session: Session, rows: Sequence[Any]) -> None:
        self._session = session
        self._rows = rows
        self._templates: dict[tuple[uuid.UUID, str, str], tuple[Template | None, DomainError | None]] = {}
        # What rules count over many messages; those that go in this very transaction are added as they go.
        self.counted: dict[Any, Any] = {}
        self.looks: list[Look] = []

    @cached_property
    def policies(self) -> dict[uuid.UUID, dict[str, tuple[Mapping[str, Any], str]]]:
        """The rules of each workspace, and who set them."""
        found: dict[uuid.UUID, dict[str, tuple[Mapping[str, Any], str]]] = {}
        for policy in policies.of_workspaces(self._session, {row.workspace_id for row in self._rows}):
            found.setdefault(policy.workspace_id, {})[policy.name] = (policy.value, policy.set_by)
        return found

    @cached_property
    def channels(self) -> dict[uuid.UUID, Channel]:
        """The channels, with their credentials, for reading."""
        return credentials.channels(self._session, {row.channel_id for row in self._rows})

    def template(self, channel: Channel, content: dict[str, Any]) -> tuple[Template | None, DomainError | None]:
        """Return the template that a content names, and why it may not be sent."""
        key = (channel.id, *templates.named(content))
        if key not in self._templates:
            self._templates[key] = templates.seen(self._session, channel, *key[1:])
        return self._templates[key]


@dataclass(frozen=True, slots=True)
class Look:
    """A message and all that speaks for or against sending it now."""

    row: Any
    provider: Provider
    shared: Shared
    # Whether it is the look before sending: then rules that count what others send take turns with them.
    decides: bool = False

    @property
    def now(self) -> datetime:
        """The moment of looking, by the database's clock."""
        return self.row.now

    @property
    def channel(self) -> Channel:
        """The channel, with its credentials, for reading."""
        return self.shared.channels[self.row.channel_id]

    @property
    def category(self) -> Category:
        """What the message is for."""
        return Category(self.row.category)

    @property
    def state(self) -> MessageState:
        """How far the message is."""
        return MessageState(self.row.state)

    @property
    def identities(self) -> Mapping[str, str]:
        """How the person is named, by kind."""
        return self.row.identities or {}

    @property
    def scopes(self) -> tuple[str, str]:
        """The scopes that a queue's and a task's hold has for it."""
        return f"queue:{queue_of(self.provider.task)}", f"task:{self.provider.task}"

    def policy(self, name: str) -> tuple[Mapping[str, Any], str] | None:
        """Return a rule of the workspace, and who set it."""
        return self.shared.policies.get(self.row.workspace_id, {}).get(name)

    def address(self) -> Address | None:
        """Return how the provider is told whom the message is for; None if it cannot reach this person."""
        if self.row.group_id:
            return Address("group", self.row.group_id)
        return next(
            (Address(kind, self.identities[kind]) for kind in self.provider.reaches if kind in self.identities), None
        )


def look(session: Session, message_id: uuid.UUID, *, lock: bool = False) -> Look | None:
    """Return what is known of a message now; with `lock`, its row stays as it is until the transaction ends."""
    return next(iter(looks(session, [message_id], lock=lock)), None)


def looks(session: Session, message_ids: Iterable[uuid.UUID], *, lock: bool = False) -> list[Look]:
    """Return what is known of messages now, in any order; with `lock`, their rows stay as they are."""
    statement = sa.text(_MESSAGES.format(lock="FOR UPDATE" if lock else ""))
    return _looks(session, session.execute(statement, {"ids": list(message_ids)}).all(), decides=lock)


def prospects(
    session: Session,
    channel_id: uuid.UUID,
    contact_ids: Iterable[uuid.UUID],
    *,
    type: str,
    content: Mapping[str, Any],
    category: Category,
    author: str,
    decides: bool = False,
) -> list[Look]:
    """Return what would be known of a message to each of these people, were it sent now; `row.id` is none.

    `row.talk_id` is the conversation that there is with the person on this channel, if there is one.

    Args:
        content: whose template is judged, and nothing else of it: what it says to each person may differ.
        decides: whether it is the look before sending.
    """
    values = {
        "channel_id": channel_id,
        "ids": list(contact_ids),
        "type": type,
        "content": dumps(content),
        "category": category,
        "author": author,
    }
    return _looks(session, session.execute(sa.text(_PROSPECTS), values).all(), decides=decides)


def _looks(session: Session, rows: Sequence[Any], *, decides: bool) -> list[Look]:
    shared = Shared(session, rows)
    shared.looks = [
        Look(row, registry.provider(shared.channels[row.channel_id].kind), shared, decides=decides) for row in rows
    ]
    return shared.looks
