"""A workspace at a glance: what happened since midnight, and what waits for a person."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.config import settings
from crm_tasks.core import cache, holds
from crm_tasks.core.db import now
from crm_tasks.core.jobs.model import Job, JobState
from crm_tasks.core.types import id_floor
from crm_tasks.imports.models import Import, ImportState
from crm_tasks.messages.models import Direction, EventState, InboundEvent, Message, MessageState

_SHOWN = 10
_ARRIVED = (MessageState.DELIVERED, MessageState.READ, MessageState.PLAYED)
_LEFT = (MessageState.ACCEPTED, MessageState.SENT, *_ARRIVED)


@dataclass(slots=True)
class Figures:
    """Messages made since a moment, and what runs. `hours` is in, out and failed of each hour since."""

    received: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    waiting: int = 0
    hours: dict[int, dict[str, int]] = field(default_factory=dict)
    campaigns: list[Campaign] = field(default_factory=list)
    imports: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person: what (a stable name), how many, in words for one and for several."""

    what: str
    count: int
    one: str
    several: str

    @property
    def words(self) -> str:
        """What there is so many of."""
        return self.one if self.count == 1 else self.several


def moment(session: Session) -> datetime:
    """Return the system's time."""
    return session.scalar(sa.select(now()))  # type: ignore[return-value]


def figures(session: Session, workspace_id: uuid.UUID, since: datetime) -> Figures:
    """Return what happened since a moment; where that is much, the messages may be those of some seconds ago."""
    found = Figures()
    key = f"today:{workspace_id}:{since.timestamp():.0f}"
    counted = cache.counted(key, lambda: _messages(session, workspace_id, since), lambda rows: sum(r[-1] for r in rows))
    for at, direction, state, number in counted:
        _add(found, max(at, 0), Direction(direction), MessageState(state), number)
    running = sa.select(Campaign).where(Campaign.workspace_id == workspace_id, Campaign.state == CampaignState.RUNNING)
    found.campaigns = list(session.scalars(running.order_by(Campaign.id.desc()).limit(_SHOWN)))
    imports = sa.select(Import.state, sa.func.count()).where(
        Import.workspace_id == workspace_id, Import.id >= id_floor(since)
    )
    found.imports = {str(ImportState(state)): n for state, n in session.execute(imports.group_by(Import.state))}
    return found


def _messages(session: Session, workspace_id: uuid.UUID, since: datetime) -> list[list[Any]]:
    """Return how many messages of each hour, direction and state there are; ids say when they were made."""
    hour = sa.cast(sa.func.floor(sa.extract("epoch", Message.created_at - since) / 3600), sa.Integer)
    query = (
        sa.select(hour, Message.direction, Message.state, sa.func.count())
        .where(Message.id >= id_floor(since), Message.workspace_id == workspace_id)
        .group_by(sa.text("1, 2, 3"))
    )
    return [list(row) for row in session.execute(query)]


def _add(found: Figures, hour: int, direction: Direction, state: MessageState, number: int) -> None:
    of_hour = found.hours.setdefault(hour, {"in": 0, "out": 0, "failed": 0})
    if direction is Direction.IN:
        found.received += number
        of_hour["in"] += number
    elif state in _LEFT:
        found.sent += number
        found.delivered += number if state in _ARRIVED else 0
        of_hour["out"] += number
    elif state is MessageState.FAILED:
        found.failed += number
        of_hour["failed"] += number
    elif state in (MessageState.QUEUED, MessageState.SENDING):
        found.waiting += number


def needs(session: Session, workspace_id: uuid.UUID, *, operator: bool) -> list[Need]:
    """Return what waits for a person in a workspace; requests that belong to none are the operators'."""
    dead = _count(session, Job, *_dead(workspace_id))
    undecided = _count(session, Message, *_undecided(workspace_id))
    halted = _count(session, Campaign, *_halted(workspace_id))
    held = len(holds.listed(session, workspace_id=workspace_id))
    found = [
        Need("dead_letters", dead, "dead letter: work that failed for good", "dead letters: work that failed for good"),
        Need("unknown", undecided, "message that may have been sent or not", "messages that may have been sent or not"),
        Need("halted", halted, "campaign halted by a guard", "campaigns halted by a guard"),
        Need("holds", held, "hold that stops work", "holds that stop work"),
    ]
    if operator:
        aside = InboundEvent.state == EventState.QUARANTINED
        # As its partial index has it.
        open_ = sa.text("inbound_events.state <> 'done'")
        number = _count(session, InboundEvent, aside, open_)
        found.append(Need("events", number, "webhook request put aside", "webhook requests put aside"))
    return [need for need in found if need.count]


def _count(session: Session, model: type, *conditions: sa.ColumnElement[bool] | sa.TextClause) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(model).where(*conditions)) or 0


def _dead(workspace_id: uuid.UUID) -> tuple[sa.ColumnElement[bool], ...]:
    return Job.state == sa.literal_column(f"'{JobState.DEAD}'"), Job.workspace_id == workspace_id


def _undecided(workspace_id: uuid.UUID) -> tuple[sa.ColumnElement[bool], ...]:
    old = Message.created_at < now() - settings().unknown_wait
    unknown = Message.state == sa.literal_column(f"'{MessageState.UNKNOWN}'")
    return unknown, Message.workspace_id == workspace_id, old


def _halted(workspace_id: uuid.UUID) -> tuple[sa.ColumnElement[bool], ...]:
    return Campaign.state == CampaignState.HALTED, Campaign.workspace_id == workspace_id
