"""How fast a campaign goes: what was accepted and what failed in equal stretches of time, and how long is left."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign
from crm_tasks.campaigns.service import progress
from crm_tasks.core.db import now

# A chart has at most so many stretches, each of whole minutes; the rate is that of so many seconds.
MOST, LATELY = 60, 60.0
_MINUTES = """
    SELECT floor(extract(epoch FROM coalesce(m.accepted_at, m.failed_at) - :since) / :step)::int AS stretch,
           count(m.accepted_at) AS accepted, count(*) FILTER (WHERE m.accepted_at IS NULL) AS failed,
           count(*) FILTER (WHERE m.accepted_at > crm_now() - make_interval(secs => :lately)) AS lately
    FROM recipients r JOIN messages m ON m.id = r.message_id
    WHERE r.campaign_id = :campaign AND coalesce(m.accepted_at, m.failed_at) >= :since
    GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """What was accepted and failed in each stretch of `minutes` since the start; how many a second lately."""

    minutes: int
    bars: Sequence[Sequence[int]]
    per_second: float

    def seconds_left(self, still: int) -> float | None:
        """Return how long so many take at this rate; None if nothing moves."""
        return still / self.per_second if self.per_second else None


def shown(session: Session, campaign: Campaign) -> Pace | None:
    """Return how fast a campaign goes or went, of a large one as it was some seconds ago; None before it starts."""
    if campaign.started_at is None:
        return None
    return Pace(**progress.lately(campaign, "pace", lambda: asdict(measure(session, campaign))))


def measure(session: Session, campaign: Campaign) -> Pace:
    """Return how fast a campaign that has started goes, now."""
    begun: datetime = campaign.started_at  # type: ignore[assignment]
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    minutes = max(1, math.ceil(((campaign.finished_at or moment) - begun).total_seconds() / 60))
    step = math.ceil(minutes / MOST)
    bars = [[0, 0] for _ in range(math.ceil(minutes / step))]
    values: dict[str, Any] = {"campaign": campaign.id, "since": begun, "step": step * 60, "lately": LATELY}
    lately = 0
    for row in session.execute(sa.text(_MINUTES), values):
        # What came after the end, of whom was tried again, say, is of the last stretch.
        bar = bars[min(row.stretch, len(bars) - 1)]
        bar[0], bar[1], lately = bar[0] + row.accepted, bar[1] + row.failed, lately + row.lately
    passed = min(LATELY, max((moment - begun).total_seconds(), 1.0))
    return Pace(step, bars, round(lately / passed, 3))
