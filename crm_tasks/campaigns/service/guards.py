"""What stops a campaign by itself, and how much of it may go before anybody knows how it fares.

The first few go alone (the canary). Shares are of the latest recipients, so that what goes wrong late is noticed too,
and looking costs the same however large the campaign is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState, Recipient
from crm_tasks.campaigns.service import progress, supervising
from crm_tasks.core.db import now
from crm_tasks.messages.models import AccountUpdate, MessageState
from crm_tasks.templates import service as templates
from crm_tasks.workspaces.models import Channel

# As usual: shares, numbers of recipients, seconds.
GUARDS: dict[str, Any] = {
    "failure_share": 0.05,
    "opt_out_share": 0.01,
    "minimum": 100,
    "canary_share": 0.01,
    "canary_min": 20,
    "canary_wait": 60,
}
# How many of the latest recipients the share of failures is of.
LATEST = 5_000
# Of the canary, which is few, so many must fail that it is no accident.
CANARY_FAILURES = 0.5
NO_LIMIT = 2**62
_PUMPS_DEAD = 3
# Of these nothing is paid, unless the provider had accepted it before.
_NOTHING = (MessageState.FAILED, MessageState.SUPPRESSED, MessageState.CANCELLED)
_MILLION = 1_000_000
# Meta, "phone_number_quality_update": what a number loses, not what it gains.
_WORSE = ("FLAGGED", "DOWNGRADE", "RESTRICTED")


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a campaign stops: the rule, what it found and what it allows."""

    rule: str
    value: str
    limit: str

    def as_json(self) -> dict[str, str]:
        """Return it as it is kept."""
        return {"rule": self.rule, "value": self.value, "limit": self.limit}

    def text(self) -> str:
        """Return it as one sentence."""
        return f"{self.rule}: {self.value}, and the limit is {self.limit}"


@dataclass(frozen=True, slots=True)
class Seen:
    """How near a guard is: its name, what it finds, what it allows, and whether it judges already."""

    rule: str
    value: str
    limit: str
    judges: bool = True


# --- how many may go ---------------------------------------------------------------------------------------------


def canary(campaign: Campaign) -> int:
    """Return how many go first; a campaign that is no larger than what guards judge by has no canary."""
    share, total = campaign.guards["canary_share"], campaign.audience_total
    if not share or total <= campaign.guards["minimum"]:
        return 0
    return min(total, max(campaign.guards["canary_min"], math.ceil(share * total)))


def horizon(campaign: Campaign) -> int:
    """Return up to which position recipients may be drawn now: several pumps may ask at once, and none goes beyond."""
    if campaign.state is not CampaignState.RUNNING or campaign.planned_at is None:
        return 0
    first = canary(campaign)
    return first if first and campaign.canary_passed_at is None else NO_LIMIT


def may_send(session: Session, campaign: Campaign) -> int:
    """Return how many recipients may still be drawn: the rest of the canary, no limit, or nobody."""
    last = horizon(campaign)
    if last in (0, NO_LIMIT):
        return last
    return session.scalar(sa.select(sa.func.count()).where(*_planned(campaign), Recipient.position <= last)) or 0


def afford(session: Session, campaign: Campaign, costs: Sequence[int]) -> int:
    """Reserve the cost of the next messages from the campaign's budget, and return how many of them it is enough for.

    Called in the transaction that marks them as being sent. What was reserved and not spent comes back before the
    budget is said to be used up.

    Args:
        costs: of each message in order, in millionths; 0 for one without a price.
    """
    if campaign.budget is None:
        return len(costs)
    locked = session.get_one(Campaign, campaign.id, with_for_update=True, populate_existing=True)
    count = _enough(locked, costs)
    if count < len(costs):
        locked.spent = _spent(session, locked)
        count = _enough(locked, costs)
    locked.spent += sum(costs[:count])
    locked.budget_asked = costs[count] if count < len(costs) else None
    session.flush()
    return count


def _enough(campaign: Campaign, costs: Sequence[int]) -> int:
    left, count = (campaign.budget or 0) - campaign.spent, 0
    for cost in costs:
        left -= cost
        if left < 0:
            break
        count += 1
    return count


def _spent(session: Session, campaign: Campaign) -> int:
    """Return what the campaign has cost, or may have, where what was reserved for the refused comes back.

    Not while one waits whose cost is written down only when it leaves: what was reserved for it would be forgotten.
    """
    query = sa.text(
        "SELECT coalesce(sum(m.cost) FILTER (WHERE m.accepted_at IS NOT NULL OR m.state <> ALL(:nothing)), 0), "
        "       coalesce(bool_or(m.state IN ('planned', 'queued') AND m.cost IS NULL), false) "
        "FROM recipients r JOIN messages m ON m.id = r.message_id WHERE r.campaign_id = :campaign"
    )
    total, waits = session.execute(query, {"campaign": campaign.id, "nothing": list(_NOTHING)}).one()
    return campaign.spent if waits else int(total)


# --- the canary --------------------------------------------------------------------------------------------------


def look_at_canary(session: Session, campaign: Campaign) -> None:
    """Let the rest follow once the results of the canary are known, or nothing is heard of it for long enough."""
    first = canary(campaign)
    if not first or campaign.canary_passed_at is not None:
        return
    if session.scalar(sa.select(sa.exists().where(*_planned(campaign), Recipient.position <= first))):
        return
    moment = session.scalars(sa.select(now())).one()
    campaign.canary_drawn_at = campaign.canary_drawn_at or moment
    waited = moment - campaign.canary_drawn_at >= timedelta(seconds=campaign.guards["canary_wait"])
    if waited or not session.scalar(sa.text(_UNHEARD), {"campaign": campaign.id, "first": first}):
        campaign.canary_passed_at = moment
    session.flush()


# Of whom nothing final is known: it is under way, or accepted and no more. What was put off for long is not waited for.
_UNHEARD = """
    SELECT EXISTS (SELECT FROM recipients r JOIN messages m ON m.id = r.message_id
                   WHERE r.campaign_id = :campaign AND r.message_id IS NOT NULL AND r.position <= :first
                     AND (m.state IN ('sending', 'accepted', 'sent', 'unknown')
                          OR m.state = 'queued' AND m.gates IS NULL))
"""


def _planned(campaign: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        Recipient.campaign_id == campaign.id,
        Recipient.state == sa.literal_column(f"'{MessageState.PLANNED}'"),
        Recipient.message_id.is_(None),
    )


# --- what halts --------------------------------------------------------------------------------------------------


def broken(session: Session, campaign: Campaign) -> Halt | None:
    """Return the first guard that says stop."""
    rules = (_template, _quality, _failures, _opt_outs, _budget, _pumps)
    return next((halt for rule in rules for halt in rule(session, campaign)), None)


def _template(session: Session, campaign: Campaign) -> Iterator[Halt]:
    """The template was paused or disabled, as too many people did not want it."""
    if campaign.type != "template":
        return
    channel = session.get_one(Channel, campaign.channel_id)
    _, problem = templates.seen(session, channel, *templates.named(campaign.content))
    if problem is not None:
        yield Halt(problem.code, problem.message, "an approved template")


def _quality(session: Session, campaign: Campaign) -> Iterator[Halt]:
    """The provider thinks less of the number than when the campaign began."""
    event = AccountUpdate.value["event"].astext
    query = (
        sa.select(event)
        .where(
            AccountUpdate.workspace_id == campaign.workspace_id,
            AccountUpdate.field == "phone_number_quality_update",
            sa.or_(AccountUpdate.channel_id == campaign.channel_id, AccountUpdate.channel_id.is_(None)),
            AccountUpdate.occurred_at >= campaign.guards_start,
            event.in_(_WORSE),
        )
        .order_by(AccountUpdate.id.desc())
        .limit(1)
    )
    if (said := session.scalar(query)) is not None:
        yield Halt("quality_dropped", f"the provider says {said}", "the number's quality at the start")


def shown(session: Session, campaign: Campaign) -> list[Seen]:
    """Return how near guards are to halting a campaign, for people: of a large one as it was some seconds ago."""
    found = progress.lately(campaign, "guards", lambda: [asdict(each) for each in seen(session, campaign)])
    return [Seen(**each) for each in found]


def seen(session: Session, campaign: Campaign) -> list[Seen]:
    """Return how near the guards of a campaign that has started are to halting it."""
    guards, first = campaign.guards, canary(campaign)
    found = _results(session, campaign)
    reached, refused = _refusals(session, campaign)
    near = [
        Seen(
            "failures",
            f"{found.failed} of {found.known}",
            f"{guards['failure_share']:.2%}",
            found.known >= guards["minimum"],
        ),
        Seen("opt_outs", f"{refused} of {reached}", f"{guards['opt_out_share']:.2%}", reached >= guards["minimum"]),
    ]
    if first:
        passed = campaign.canary_passed_at is not None
        near.append(Seen("canary", "passed" if passed else f"the first {first} go alone", "half of them", not passed))
    if campaign.budget is not None:
        near.append(Seen("budget", f"{campaign.spent / _MILLION:.2f} reserved", _amount(campaign)))
    return near


_RESULTS = """
    SELECT count(*) FILTER (WHERE state = 'failed') AS failed, count(*) AS known,
           count(*) FILTER (WHERE position <= :first) AS first,
           count(*) FILTER (WHERE position <= :first AND state = 'failed') AS first_failed
    FROM (SELECT r.position, m.state FROM recipients r JOIN messages m ON m.id = r.message_id
          WHERE r.campaign_id = :campaign AND r.message_id IS NOT NULL AND m.created_at >= :since
          ORDER BY r.message_id DESC LIMIT :latest) AS latest
    WHERE state NOT IN ('planned', 'queued', 'sending', 'suppressed', 'cancelled')
"""


def _failures(session: Session, campaign: Campaign) -> Iterator[Halt]:
    """Too many of the latest failed."""
    guards, found = campaign.guards, _results(session, campaign)
    share = guards["failure_share"]
    if found.known >= guards["minimum"] and found.failed > share * found.known:
        yield Halt("failures", f"{found.failed} of {found.known} failed", f"{share:.2%}")
    elif found.first >= guards["canary_min"] and found.first_failed > CANARY_FAILURES * found.first:
        allowed = f"{CANARY_FAILURES:.0%} of those who go first"
        yield Halt("canary", f"{found.first_failed} of the first {found.first} failed", allowed)


def _results(session: Session, campaign: Campaign) -> Any:
    values = {"campaign": campaign.id, "since": campaign.guards_start, "latest": LATEST, "first": canary(campaign)}
    return session.execute(sa.text(_RESULTS), values).one()


# Each word of refusal since, by those whom the campaign had reached by then. Its ids are younger than the campaign's.
# From the words, which are few, to the people, and not the other way round: OFFSET keeps Postgres to it.
_REFUSED = """
    SELECT count(DISTINCT who.contact_id)
    FROM (SELECT address, occurred_at FROM consent_events
          WHERE workspace_id = :workspace AND id > :campaign AND NOT allowed AND occurred_at >= :since OFFSET 0) AS e
    CROSS JOIN LATERAL (SELECT contact_id FROM identities
          WHERE workspace_id = :workspace AND kind = ANY(:kinds) AND value = e.address AND retired_at IS NULL
          OFFSET 0) AS who
    CROSS JOIN LATERAL (SELECT message_id FROM recipients
          WHERE campaign_id = :campaign AND contact_id = who.contact_id OFFSET 0) AS r
    CROSS JOIN LATERAL (SELECT FROM messages
          WHERE id = r.message_id AND accepted_at <= e.occurred_at + interval '1 s' OFFSET 0) AS m
"""


def _opt_outs(session: Session, campaign: Campaign) -> Iterator[Halt]:
    """Too many said that they want no more."""
    reached, refused = _refusals(session, campaign)
    share = campaign.guards["opt_out_share"]
    if reached >= campaign.guards["minimum"] and refused > share * reached:
        yield Halt("opt_outs", f"{refused} of {reached} opted out", f"{share:.2%}")


def _refusals(session: Session, campaign: Campaign) -> tuple[int, int]:
    """Return how many were reached and how many of them refused; of too few to judge by, nobody is looked at."""
    reached = session.scalar(
        sa.select(sa.func.count()).where(Recipient.campaign_id == campaign.id, Recipient.message_id.is_not(None))
    )
    if not reached or reached < campaign.guards["minimum"]:
        return reached or 0, 0
    values = {
        "campaign": campaign.id,
        "workspace": campaign.workspace_id,
        "since": campaign.guards_start,
        "kinds": ["phone", "wa_id", "bsuid", "parent_bsuid", "email"],
    }
    return reached, session.scalar(sa.text(_REFUSED), values) or 0


def _budget(session: Session, campaign: Campaign) -> Iterator[Halt]:
    """The next message would cost more than is left."""
    if campaign.budget is None or campaign.budget_asked is None:
        return
    left = campaign.budget - campaign.spent
    if campaign.budget_asked > left:
        asked = campaign.budget_asked
        yield Halt("budget", f"{left / _MILLION:.4g} is left and {asked / _MILLION:.4g} asked", _amount(campaign))


def _amount(campaign: Campaign) -> str:
    return f"{(campaign.budget or 0) / _MILLION:.2f}"


def _pumps(session: Session, campaign: Campaign) -> Iterator[Halt]:
    """Its pumps fail again and again: a person has to look, and the dead letters say why."""
    query = sa.text(
        "SELECT count(*) FROM jobs WHERE state = 'dead' AND queue = 'campaigns' AND task = 'campaigns.pump' "
        "AND serial_key LIKE :keys AND finished_at >= :since"
    )
    keys = f"{supervising.pump_key(campaign.id, 0)[:-1]}%"
    dead = session.scalar(query, {"keys": keys, "since": campaign.guards_start}) or 0
    if dead >= _PUMPS_DEAD:
        yield Halt("pump_failed", f"{dead} pumps are dead letters", f"{_PUMPS_DEAD}")


def reset(session: Session, campaign: Campaign) -> None:
    """Look only at what comes from now on: who lets a campaign go on has seen the rest."""
    campaign.guards_since, campaign.budget_asked = session.scalar(sa.select(now())), None
