"""What is known of a message at the moment of sending, in one statement: the rules of the last look judge by it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.queues import queue_of
from crm_tasks.messages.models import Category, MessageState
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Address, Provider

_LOOK = """
    SELECT crm_now() AS now, m.id, m.workspace_id, m.channel_id, m.conversation_id, m.contact_id, m.state, m.claim_no,
        m.type, m.content, m.category, m.author, m.context_provider_id, m.fallback, m.fallback_of, m.parts, m.trace_id,
        m.scheduled_for, c.kind, c.settings, c.waba_id, md5(c::text) AS channel_digest, v.last_inbound_at,
        v.human_since, v.human_by, v.group_id, p.time_zone, known.identities,
        (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.id) FROM suppressions s
         WHERE s.workspace_id = m.workspace_id AND s.active AND s.address = ANY(known.values)) AS suppressions,
        (SELECT jsonb_object_agg(r.name, jsonb_build_object('value', r.value, 'set_by', r.set_by))
         FROM policies r WHERE r.workspace_id = m.workspace_id) AS policies,
        (SELECT jsonb_agg(to_jsonb(h) ORDER BY h.id) FROM holds h
         WHERE h.released_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > crm_now())
           AND h.scope = ANY(ARRAY['all', 'workspace:' || m.workspace_id, 'channel:' || m.channel_id,
                                   'conversation:' || m.conversation_id, 'contact:' || m.contact_id])) AS holds
    FROM messages m
    JOIN channels c ON c.id = m.channel_id
    JOIN conversations v ON v.id = m.conversation_id
    LEFT JOIN contacts p ON p.id = m.contact_id
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(i.kind, i.value ORDER BY i.created_at, i.id) AS identities,
               array_agg(i.value) AS values
        FROM identities i WHERE i.contact_id = m.contact_id AND i.retired_at IS NULL) known ON true
    WHERE m.id = :id
"""


@dataclass(frozen=True, slots=True)
class Look:
    """A message and all that speaks for or against sending it now."""

    row: Any
    provider: Provider
    # Whether it is the look before sending: then rules that count what others send take turns with them.
    decides: bool = False

    @property
    def now(self) -> datetime:
        """The moment of looking, by the database's clock."""
        return self.row.now

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
        found = (self.row.policies or {}).get(name)
        return (found["value"], found["set_by"]) if found else None

    def address(self) -> Address | None:
        """Return how the provider is told whom the message is for; None if it cannot reach this person."""
        if self.row.group_id:
            return Address("group", self.row.group_id)
        return next(
            (Address(kind, self.identities[kind]) for kind in self.provider.reaches if kind in self.identities), None
        )


def look(session: Session, message_id: uuid.UUID, *, lock: bool = False) -> Look | None:
    """Return what is known of a message now; with `lock`, its row stays as it is until the transaction ends."""
    row = session.execute(sa.text(_LOOK + ("FOR UPDATE OF m" if lock else "")), {"id": message_id}).first()
    return Look(row, registry.provider(row.kind), decides=lock) if row else None
