"""The rehearsal: what would become of each recipient now, how long it would take, what it would cost.

It asks the same function that the pump asks at the instant of sending, of everybody, and keeps the answer with each
recipient: so after the run every difference can be listed with its cause.
"""

import math
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import BEFORE, BEFORE_FIRST, Campaign, Recipient
from crm_tasks.campaigns.service import composing, planning, rendering, states, verdicts
from crm_tasks.campaigns.service.verdicts import Outcome, Verdict
from crm_tasks.core.db import dumps, now
from crm_tasks.core.log import get_logger
from crm_tasks.core.pace.buckets import Members
from crm_tasks.messages.service import gates, pacing
from crm_tasks.messages.service.look import Look, prospects
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)

CHUNK, SAMPLES, AUTHOR = 500, 5, "campaign"
_DAY = 86_400
_MILLION = 1_000_000
_KEEP = """
    UPDATE recipients r SET forecast = said.outcome, reason = said.reason
    FROM jsonb_to_recordset(cast(:said AS jsonb)) AS said (contact_id uuid, outcome text, reason jsonb)
    WHERE r.campaign_id = :campaign AND r.contact_id = said.contact_id AND r.message_id IS NULL
"""


def ask(
    session: Session, workspace_id: uuid.UUID | None, campaign_id: uuid.UUID, *, actor: str
) -> tuple[Campaign, uuid.UUID]:
    """Have a campaign planned and forecast, from the beginning; returns it and the job.

    Raises:
        NotFound: no such campaign here. Conflict: it has started.
    """
    campaign = states.get(session, workspace_id, campaign_id, lock=True)
    if campaign.state not in BEFORE:
        raise states.conflict(campaign, "it can be rehearsed only before it starts")
    planning.forget(campaign)
    campaign.rehearse_since = session.scalar(sa.select(now()))
    session.flush()
    log.info("campaign.rehearsal_asked", campaign_id=str(campaign.id), actor=actor)
    return campaign, planning.ask(session, campaign)


def rehearse_on(session: Session, campaign_id: uuid.UUID, *, chunk: int = CHUNK) -> bool:
    """Forecast the next recipients of a campaign that is planned; False once there are no more."""
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None or campaign.planned_at is None or campaign.state not in BEFORE:
        return False
    if campaign.rehearse_since is None or campaign.rehearsal is not None:
        return False
    rows = session.execute(
        sa.select(Recipient.contact_id, Recipient.forecast)
        .where(Recipient.campaign_id == campaign.id, Recipient.contact_id > (campaign.rehearse_after or BEFORE_FIRST))
        .order_by(Recipient.contact_id)
        .limit(chunk)
    ).all()
    if rows:
        # Who is already out by the plan, as a duplicate, stays so.
        ids = [row.contact_id for row in rows if row.forecast != Outcome.DUPLICATE]
        _forecast(session, campaign, ids)
        sums = campaign.rehearse_sums
        outcomes = Counter(sums["outcomes"]) + Counter({str(Outcome.DUPLICATE): len(rows) - len(ids)})
        campaign.rehearse_sums = {**sums, "outcomes": dict(outcomes)}
        campaign.rehearse_cursor, campaign.rehearse_after = campaign.rehearse_cursor + len(rows), rows[-1].contact_id
    if len(rows) < chunk:
        campaign.rehearsal = _report(session, campaign)
        campaign.rehearsed_at = session.scalar(sa.select(now()))
        log.info("campaign.rehearsed", campaign_id=str(campaign.id), recipients=campaign.audience_total)
    session.flush()
    return len(rows) == chunk


def samples(session: Session, campaign: Campaign) -> list[dict[str, Any]]:
    """Return what the first few would read. Made when asked: a forecast keeps no words about people."""
    ids = [uuid.UUID(each) for each in (campaign.rehearsal or {}).get("sample_ids", ())]
    if not ids:
        return []
    channel = session.get_one(Channel, campaign.channel_id)
    looks = _looks(session, campaign, channel, ids)
    people = verdicts.people(session, looks)
    found = []
    for contact_id in ids:
        if contact_id in people:
            content = rendering.sample(campaign.content, people[contact_id])
            text, _ = composing.described(session, channel, campaign.type, content)
            found.append({"contact_id": str(contact_id), "text": text, "content": content})
    return found


# --- one chunk ---------------------------------------------------------------------------------------------------


def _forecast(session: Session, campaign: Campaign, ids: Sequence[uuid.UUID]) -> None:
    channel = session.get_one(Channel, campaign.channel_id)
    # Who was reached today costs nothing of what is left of today.
    known = pacing.reached(session, channel, ids) if channel.settings.get("unique_per_day") else set()
    sums = _Sums(campaign, known)
    looks = {each.row.contact_id: each for each in _looks(session, campaign, channel, ids)}
    people = verdicts.people(session, looks.values()) if rendering.places(campaign.content) else {}
    if looks:
        _carry(session, next(iter(looks.values())), sums.cost)
    said = []
    for contact_id in ids:
        seen = looks.get(contact_id)
        verdict = (
            verdicts.judge(session, seen, campaign.content, people.get(contact_id, rendering.Person()))
            if seen is not None
            else Verdict(Outcome.NO_IDENTITY)  # deleted since it was planned
        )
        verdict = sums.add(contact_id, seen, verdict)
        reason = verdict.finding.as_json() if verdict.finding else None
        said.append({"contact_id": contact_id, "outcome": verdict.outcome, "reason": reason})
    session.execute(sa.text(_KEEP), {"campaign": campaign.id, "said": dumps(said)})
    campaign.rehearse_sums = sums.as_json()


def _looks(session: Session, campaign: Campaign, channel: Channel, ids: Sequence[uuid.UUID]) -> list[Look]:
    category = composing.category(session, channel, campaign)
    return prospects(
        session, channel.id, ids, type=campaign.type, content=campaign.content, category=category, author=AUTHOR
    )


def _carry(session: Session, first: Look, cost: int) -> None:
    """Count what the chunks before would cost against the workspace's budget, which each chunk reads afresh."""
    gates.findings(session, first)
    key = ("spent", first.row.workspace_id)
    if key in first.shared.counted:
        first.shared.counted[key] += cost


class _Sums:
    """What is counted over all chunks."""

    def __init__(self, campaign: Campaign, known: Collection[uuid.UUID]) -> None:
        kept = campaign.rehearse_sums
        self._budget = campaign.budget
        self._known = known
        self.outcomes: Counter[str] = Counter(kept.get("outcomes", {}))
        self.costs: dict[str, list[int]] = kept.get("costs", {})
        self.new_people: int = kept.get("new_people", 0)
        self.sample_ids: list[str] = kept.get("sample_ids", [])
        self.cost: int = kept.get("cost", 0)
        self.limits: dict[str, Any] = kept.get("limits", {})

    def add(self, contact_id: uuid.UUID, seen: Look | None, verdict: Verdict) -> Verdict:
        """Count a verdict, and return it: what the campaign's own budget is not enough for is over it."""
        if seen is not None and verdict.outcome is Outcome.WILL_BE_SENT:
            verdict = self._send(contact_id, seen, verdict)
        self.outcomes[str(verdict.outcome)] += 1
        return verdict

    def _send(self, contact_id: uuid.UUID, seen: Look, verdict: Verdict) -> Verdict:
        measure = seen.provider.measure
        cost = gates.cost_of(seen, measure(verdict.content) if measure and verdict.content else None)
        if self._budget is not None and self.cost + (cost or 0) > self._budget:
            return Verdict(Outcome.OVER_BUDGET, finding=_over(self.cost, cost or 0, self._budget))
        gates.goes(seen)
        self.cost += cost or 0
        key = f"{gates.country_of(seen) or ''}|{seen.category}|{'' if cost is None else 'priced'}"
        count, total = self.costs.get(key, (0, 0))
        self.costs[key] = [count + 1, total + (cost or 0)]
        if len(self.sample_ids) < SAMPLES:
            self.sample_ids.append(str(contact_id))
        self._pace(seen)
        return verdict

    def _pace(self, seen: Look) -> None:
        for limit in pacing.limits_of(seen):
            if isinstance(limit, Members):
                self.new_people += seen.row.contact_id not in self._known
                self.limits["people"] = limit.limit
            elif not limit.name.startswith("pair:"):
                # A part of it is for those who do not wait, such as replies.
                self.limits[limit.name.partition(":")[0]] = limit.rate * (1 - limit.reserved)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept between chunks."""
        return {
            "outcomes": dict(self.outcomes),
            "costs": self.costs,
            "new_people": self.new_people,
            "sample_ids": self.sample_ids,
            "cost": self.cost,
            "limits": self.limits,
        }


def _over(spent: int, cost: int, budget: int) -> gates.Finding:
    value = f"{spent / _MILLION:.4g} would be spent, {cost / _MILLION:.4g} more asked"
    return gates.Finding("budget", value, f"{budget / _MILLION:.2f}", "the campaign")


# --- the report --------------------------------------------------------------------------------------------------


def _report(session: Session, campaign: Campaign) -> dict[str, Any]:
    sums = campaign.rehearse_sums
    outcomes = {str(each): sums.get("outcomes", {}).get(str(each), 0) for each in Outcome}
    costs = [(*key.split("|"), *value) for key, value in sorted(sums.get("costs", {}).items())]
    return {
        "audience": campaign.audience_total,
        "outcomes": outcomes,
        "time": _time(outcomes[Outcome.WILL_BE_SENT], sums, _reached_today(session, campaign, sums)),
        "cost": {
            "total": sums.get("cost", 0) / _MILLION,
            "by": [
                {"country": country or None, "category": category, "messages": count, "cost": total / _MILLION}
                for country, category, _, count, total in costs
            ],
            # Without a price nothing can be said about what they cost.
            "unpriced": sum(count for _, _, priced, count, _ in costs if not priced),
        },
        "sample_ids": sums.get("sample_ids", []),
    }


def _reached_today(session: Session, campaign: Campaign, sums: dict[str, Any]) -> int:
    """Return how many the portfolio has reached in the last 24 hours, if that limits this campaign."""
    if "people" not in sums.get("limits", {}):
        return 0
    return pacing.count_reached(session, session.get_one(Channel, campaign.channel_id))


def _time(messages: int, sums: dict[str, Any], reached: int) -> dict[str, Any]:
    """Return how long it takes at the strictest of the present limits, in seconds, and which that is."""
    limits: dict[str, float] = dict(sums.get("limits", {}))
    people = limits.pop("people", None)
    name, rate = min(limits.items(), key=lambda item: item[1], default=("nothing", None))
    seconds, by = (messages / rate if rate else 0.0), name
    # Those whom nobody wrote to today: on the first day as many as are left of it, so many on each that follows.
    later = sums.get("new_people", 0) - max(people - reached, 0) if people else 0
    days = math.ceil(later / people) if people and later > 0 else 0
    if days * _DAY > seconds:
        seconds, by = float(days * _DAY), "people in 24 hours"
    return {"seconds": round(seconds, 1), "limited_by": by, "per_second": rate and round(rate, 3)}
