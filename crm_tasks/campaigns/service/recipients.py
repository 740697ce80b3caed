"""Recipients listed: those in a state, those with a forecast, those for whom it came otherwise."""

import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE_FIRST, Recipient
from crm_tasks.campaigns.service import progress
from crm_tasks.campaigns.service.verdicts import LATER, OUTCOMES, Outcome
from crm_tasks.messages.models import Message, MessageState

# What the provider took.
_SENT = (
    MessageState.ACCEPTED,
    MessageState.SENT,
    MessageState.DELIVERED,
    MessageState.READ,
    MessageState.PLAYED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which recipients are meant: every given condition must hold."""

    state: MessageState | None = None
    forecast: Outcome | None = None
    code: str | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return them as SQL, where `messages` is joined."""
        found: list[sa.ColumnElement[bool]] = []
        if self.state is not None:
            found.append(progress.state() == self.state)
        if self.forecast is not None:
            found.append(Recipient.forecast == self.forecast)
        if self.code is not None:
            found.append(progress.code() == self.code)
        return found


def listed(
    session: Session,
    campaign_id: uuid.UUID,
    which: Which = Which(),
    *,
    after: uuid.UUID = BEFORE_FIRST,
    limit: int = 50,
) -> list[Any]:
    """Return recipients of a campaign in their order, from behind a contact on."""
    return list(session.execute(_query(campaign_id, after, limit).where(*which.conditions())))


def differences(
    session: Session, campaign_id: uuid.UUID, *, after: uuid.UUID = BEFORE_FIRST, limit: int = 50
) -> list[Any]:
    """Return for whom it came otherwise than the rehearsal had said, each with what came and why."""
    result = _result()
    otherwise = sa.and_(
        result.is_not(None),
        Recipient.forecast.is_not(None),
        Recipient.forecast != result,
        # Put off, and then sent, is what was forecast.
        sa.not_(sa.and_(Recipient.forecast.in_(LATER), result == Outcome.WILL_BE_SENT)),
    )
    return list(session.execute(_query(campaign_id, after, limit, result.label("result")).where(otherwise)))


def _query(campaign_id: uuid.UUID, after: uuid.UUID, limit: int, *more: Any) -> sa.Select[Any]:
    columns = (
        Recipient.contact_id,
        Recipient.position,
        progress.state().label("state"),
        Recipient.forecast,
        progress.code().label("code"),
        progress.title().label("reason"),
        Recipient.message_id,
        Message.accepted_at,
    )
    query = progress.joined(*columns, *more).where(Recipient.campaign_id == campaign_id, Recipient.contact_id > after)
    return query.order_by(Recipient.contact_id).limit(limit)


def _result() -> sa.ColumnElement[str]:
    """Return what came, in the words of a forecast; nothing while it is under way, else the state for what no forecast
    can say, such as `failed`.
    """
    state, rule = progress.state(), sa.func.coalesce(progress.code(), Message.gates[0]["rule"].astext)
    names = sa.case(
        OUTCOMES, value=rule, else_=sa.case((rule.like("template_%"), Outcome.TEMPLATE_STOPPED), else_=rule)
    )
    put_off = sa.and_(state == MessageState.QUEUED, Message.gates.is_not(None))
    return sa.case(
        (state.in_(_SENT), Outcome.WILL_BE_SENT),
        (sa.or_(state == MessageState.SUPPRESSED, put_off), sa.func.coalesce(names, state)),
        (state.in_(progress.OPEN), sa.null()),
        else_=state,
    )
