"""How a campaign goes: one figure per state, which always add up to the audience, and why some came to nothing.

A recipient's state is that of its message, if it has one; a message that is no more may have been sent.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState, Recipient
from crm_tasks.core import cache
from crm_tasks.messages.models import Conversation, Message, MessageState

# The states that a recipient can be in: a customer's message is none.
STATES = tuple(state for state in MessageState if state is not MessageState.RECEIVED)
# Under way: a campaign is not finished while one of its recipients is.
OPEN = (MessageState.PLANNED, MessageState.QUEUED, MessageState.SENDING)
_MOST_REASONS = 50
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a campaign. Money in millionths."""

    audience: int
    states: Mapping[str, int]
    replies: int
    cost: int
    failures: list[dict[str, Any]]


def state() -> sa.ColumnElement[str]:
    """Return the state of a recipient, where `messages` is joined."""
    gone = sa.and_(Message.id.is_(None), Recipient.message_id.is_not(None))
    return sa.case((gone, str(MessageState.UNKNOWN)), else_=sa.func.coalesce(Message.state, Recipient.state))


def code() -> sa.ColumnElement[str]:
    """Return why a recipient got nothing, where `messages` is joined: a rule of ours or a provider's code."""
    return sa.func.coalesce(Message.error["code"].astext, Recipient.reason["rule"].astext)


def title() -> sa.ColumnElement[str]:
    """Return the same for people."""
    return sa.func.coalesce(Message.error["title"].astext, Recipient.reason["value"].astext)


def joined(*columns: Any) -> sa.Select[Any]:
    """Return a query over recipients and the messages that they have."""
    return sa.select(*columns).select_from(Recipient).outerjoin(Message, Message.id == Recipient.message_id)


def shown(session: Session, campaign: Campaign) -> Stats:
    """Return the figures for people: of a large campaign they may be some seconds old."""
    # What a state changes is seen at once.
    return Stats(**lately(campaign, f"stats:{campaign.audience_total}", lambda: asdict(count(session, campaign))))


def lately(campaign: Campaign, what: str, loader: Callable[[], T]) -> T:
    """Return what is counted of a campaign in its present state; of a large one it may be some seconds old."""
    least = cache.LEAST if campaign.state is CampaignState.RUNNING else cache.TTL.CAMPAIGN_STATS
    key = f"campaign:{campaign.id}:{campaign.state}:{what}"
    return cache.counted(key, loader, lambda _: campaign.audience_total, least=least)


def count(session: Session, campaign: Campaign) -> Stats:
    """Return the figures as they are now."""
    mine = Recipient.campaign_id == campaign.id
    query = joined(state().label("state"), sa.func.count(), sa.func.sum(_cost())).where(mine).group_by(sa.text("1"))
    found = {row[0]: row[1:] for row in session.execute(query)}
    return Stats(
        audience=campaign.audience_total,
        states={str(name): found[name][0] if name in found else 0 for name in STATES},
        replies=_replies(session, campaign.id),
        cost=int(sum(cost or 0 for _, cost in found.values())),
        failures=_failures(session, campaign.id),
    )


def is_over(session: Session, campaign: Campaign) -> bool:
    """Say whether nobody is planned, queued or being sent to, and everybody of the audience is accounted for."""
    mine = Recipient.campaign_id == campaign.id
    planned = sa.exists().where(mine, Recipient.message_id.is_(None), _is(Recipient.state, MessageState.PLANNED))
    sent = sa.select(Recipient.message_id).where(mine, Recipient.message_id.is_not(None))
    # The first condition is that of the index of what is open, which is short.
    under_way = sa.exists().where(
        sa.text("messages.state IN ('planned', 'queued', 'sending', 'unknown')"),
        Message.state.in_(OPEN),
        Message.id.in_(sent),
    )
    if session.scalar(sa.select(sa.or_(planned, under_way))):
        return False
    total = session.scalar(sa.select(sa.func.count()).select_from(Recipient).where(mine))
    return total == campaign.audience_total


def is_planned(session: Session, campaign: Campaign) -> bool:
    """Say whether somebody of a campaign is still planned, whom a pump has to draw."""
    mine = Recipient.campaign_id == campaign.id
    planned = sa.exists().where(mine, Recipient.message_id.is_(None), _is(Recipient.state, MessageState.PLANNED))
    return bool(session.scalar(sa.select(planned)))


def _is(column: Any, state: MessageState) -> sa.ColumnElement[bool]:
    """Compare with a literal, so that the planner sees that a partial index fits."""
    return column == sa.literal_column(f"'{state}'")


def _cost() -> sa.ColumnElement[int]:
    """Return what a message cost, or may have: one that did not leave costs nothing."""
    left = (MessageState.SENDING, MessageState.UNKNOWN)
    spent = sa.or_(Message.accepted_at.is_not(None), Message.state.in_(left))
    return sa.case((spent, Message.cost), else_=0)


def _replies(session: Session, campaign_id: uuid.UUID) -> int:
    """Return how many have written since they got it."""
    query = (
        sa.select(sa.func.count())
        .select_from(Recipient)
        .join(Message, Message.id == Recipient.message_id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Recipient.campaign_id == campaign_id, Conversation.last_inbound_at > Message.accepted_at)
    )
    return session.scalar(query) or 0


def _failures(session: Session, campaign_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return why recipients got nothing, the most frequent reason first."""
    nothing = state().in_((MessageState.FAILED, MessageState.SUPPRESSED))
    query = (
        joined(
            state().label("state"),
            sa.func.coalesce(code(), "").label("code"),
            sa.func.min(title()).label("title"),
            sa.func.count().label("count"),
        )
        .where(Recipient.campaign_id == campaign_id, nothing)
        .group_by(sa.text("1, 2"))
        .order_by(sa.text("4 DESC, 2"))
        .limit(_MOST_REASONS)
    )
    return [dict(row._mapping) for row in session.execute(query)]
