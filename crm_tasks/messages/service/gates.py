"""The last look: what speaks against sending a message at this very moment.

Each rule is a small function that looks at what is known and finds nothing or one thing. A finding with a moment
(`until`) puts the message off to exactly then; one without is final, and the message ends `suppressed`. All rules are
asked, so that two reasons at once are both told.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.db import dumps
from crm_tasks.messages.models import Category, Message, MessageState
from crm_tasks.messages.service import admission
from crm_tasks.messages.service.hours import opens_at, zones_of
from crm_tasks.messages.service.look import Look
from crm_tasks.workspaces import phones, policies

# Who writes without a person: their messages wait for nobody, so a person who takes over ends them.
AUTOMATIC = ("ai", "flow", "campaign")
_MILLION = 1_000_000
# What has left, or may have: only these count against a cap or a budget.
_LEFT = (
    MessageState.SENDING,
    MessageState.ACCEPTED,
    MessageState.SENT,
    MessageState.DELIVERED,
    MessageState.READ,
    MessageState.PLAYED,
    MessageState.UNKNOWN,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason not to send now: the rule, what it found, what it allows, who set it, until when, and the remedy."""

    rule: str
    value: str
    limit: str
    set_by: str
    until: datetime | None = None
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept with the message."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    def text(self) -> str:
        """Return it as one sentence."""
        until = f"; until {self.until.isoformat(timespec='seconds')}" if self.until else ""
        return f"{self.rule}: {self.value} ({self.limit}, set by {self.set_by}){until}"


def findings(session: Session, look: Look) -> list[Finding]:
    """Return all that speaks against sending now, the final reasons first."""
    found = [finding for rule in RULES for finding in rule(session, look)]
    return sorted(found, key=lambda finding: finding.until is not None)


# --- the rules ---------------------------------------------------------------------------------------------------


def held(_session: Session, look: Look) -> Iterator[Finding]:
    """A hold that was placed since the job was claimed."""
    for hold in look.row.holds or ():
        until = look.now + timedelta(seconds=1)  # the claim meets the hold itself then, and waits for its end
        yield Finding("hold", hold["reason"], hold["scope"], hold["actor"], until, f"`crm hold release {hold['id']}`")


def suppressed(_session: Session, look: Look) -> Iterator[Finding]:
    """The person does not want this kind of message on this medium."""
    for entry in look.row.suppressions or ():
        if entry["medium"] not in ("*", look.provider.medium):
            continue
        if entry["scope"] == "all" or look.category is Category.MARKETING:
            kind = "all messages" if entry["scope"] == "all" else "marketing"
            yield Finding(
                "suppressed",
                f"{entry['reason']} on {entry['changed_at'][:10]}",
                f"no {kind} by {look.provider.medium}",
                entry["actor"],
                remedy="only the person can take this back",
            )


def window_closed(_session: Session, look: Look) -> Iterator[Finding]:
    """Free text needs a customer's message of the last 24 hours (Meta, "Send messages": customer service window)."""
    if not look.provider.window or look.row.type == "template" or look.row.group_id:
        return
    if (closed := admission.closed_at(look.row.last_inbound_at, look.now)) is not None:
        yield Finding("window_closed", closed.message, "24 hours", "WhatsApp", remedy=closed.hint)


def template_stopped(_session: Session, look: Look) -> Iterator[Finding]:
    """The template was stopped since the message was accepted. One that is paused is looked at again.

    Source: Meta, "Template pausing": 3 hours the first time, 6 the second, then for good.
    """
    if look.row.type != "template":
        return
    template, problem = look.shared.template(look.channel, look.row.content)
    if problem is None:
        return
    until = None
    if problem.code == "template_paused" and template is not None:
        ends = (template.status_at + timedelta(hours=hours) for hours in (3, 6, 24))
        until = next((_whole(end) for end in ends if end > look.now), None)
    yield Finding(problem.code, problem.message, "approved templates", "WhatsApp", until, problem.hint)


def quiet_hours(_session: Session, look: Look) -> Iterator[Finding]:
    """No marketing at night, where the person is."""
    policy = look.policy("quiet_hours")
    if policy is None or look.category not in policy[0].get("categories", [Category.MARKETING]):
        return
    value, set_by = policy
    start, end = time.fromisoformat(value["from"]), time.fromisoformat(value["to"])
    zones = zones_of(look.row.time_zone, look.identities.get("phone"))
    until = opens_at(look.now, start, end, zones)
    if until is not None:
        names = ", ".join(sorted(zone.key for zone in zones)[:3])
        local = look.now.astimezone(zones[0])
        yield Finding("quiet_hours", f"{local:%H:%M} in {names}", f"{value['from']} to {value['to']}", set_by, until)


def frequency_cap(session: Session, look: Look) -> Iterator[Finding]:
    """At most so many marketing messages to a person in so many days."""
    policy = look.policy("frequency_cap")
    if policy is None or look.category is not Category.MARKETING or look.row.contact_id is None:
        return
    value, set_by = policy
    most, days = int(value["messages"]), int(value["days"])
    sent = [at for message_id, at in _marketing(session, look, most, days) if message_id != look.row.id][:most]
    if len(sent) >= most:
        until = sent[-1] + timedelta(days=days)
        yield Finding(
            "frequency_cap", f"{len(sent)} marketing messages", f"{most} in {days} days", set_by, _whole(until)
        )


_CAPPED = """
    SELECT p.id AS contact_id, m.id, m.at
    FROM unnest(CAST(:contacts AS uuid[])) AS p(id), LATERAL (
        SELECT id, coalesce(accepted_at, occurred_at) AS at FROM messages
        WHERE contact_id = p.id AND direction = 'out' AND category = 'marketing' AND state = ANY(:left)
          AND coalesce(accepted_at, occurred_at) > CAST(:since AS timestamptz)
        ORDER BY at DESC LIMIT :most) AS m
    ORDER BY m.at DESC
"""


def _marketing(session: Session, look: Look, most: int, days: int) -> list[tuple[Any, datetime]]:
    """Return the last marketing messages to a person, the newest first, one more than would be too many."""
    key = ("marketing", look.row.workspace_id)
    if key not in look.shared.counted:
        people = sorted(
            {
                each.row.contact_id
                for each in look.shared.looks
                if each.row.workspace_id == look.row.workspace_id and each.row.contact_id is not None
            }
        )
        # Two channels may reach the same person at once: one after the other, so that the second sees the first.
        _take_turns(session, look, [f"cap:{each}" for each in people])
        values = {
            "contacts": people,
            "left": list(_LEFT),
            "since": look.now - timedelta(days=days),
            "most": most + 1,
        }
        found: dict[Any, list[tuple[Any, datetime]]] = {each: [] for each in people}
        for row in session.execute(sa.text(_CAPPED), values):
            found[row.contact_id].append((row.id, row.at))
        look.shared.counted[key] = found
    return look.shared.counted[key][look.row.contact_id]


def human_took_over(_session: Session, look: Look) -> Iterator[Finding]:
    """A person answers in this conversation: nothing automatic speaks in between."""
    if look.row.human_since is not None and look.row.author in AUTOMATIC:
        since = look.row.human_since.isoformat(timespec="seconds")
        yield Finding(
            "human_took_over",
            f"since {since}",
            f"no message by {look.row.author}",
            look.row.human_by or "a person",
            remedy="hand the conversation back",
        )


def over_budget(session: Session, look: Look) -> Iterator[Finding]:
    """The workspace may spend so much in a day or month."""
    policy, price = look.policy("budget"), cost_of(look)
    if policy is None or not price:
        return
    value, set_by = policy
    zone = ZoneInfo(value.get("time_zone", "UTC"))
    begin, end = _period(look.now.astimezone(zone), value["per"])
    spent = _spent(session, look, begin)
    most = round(float(value["amount"]) * _MILLION)
    if spent + price > most:
        yield Finding(
            "budget",
            f"{spent / _MILLION:.2f} spent, {price / _MILLION:.4g} more asked",
            f"{most / _MILLION:.2f} a {value['per']}",
            set_by,
            end,
        )


def _spent(session: Session, look: Look, since: datetime) -> int:
    """Return what was spent: on what was accepted since then, and on what is on its way or may have arrived."""
    key = ("spent", look.row.workspace_id)
    if key not in look.shared.counted:
        _take_turns(session, look, [f"budget:{look.row.workspace_id}"])
        own = (Message.workspace_id == look.row.workspace_id, Message.cost.is_not(None))
        total = sa.func.coalesce(sa.func.sum(Message.cost), 0)
        accepted = session.scalar(sa.select(total).where(*own, Message.accepted_at >= since))
        under_way = session.scalar(
            sa.select(total).where(
                *own, sa.text("messages.state IN ('sending', 'unknown')"), Message.accepted_at.is_(None)
            )
        )
        look.shared.counted[key] = int(accepted or 0) + int(under_way or 0)
    return look.shared.counted[key]


def counts(look: Look) -> bool:
    """Say whether a message that goes has to be counted before the next one of its transaction is judged."""
    capped = look.policy("frequency_cap") is not None and look.category is Category.MARKETING
    return capped or (look.policy("budget") is not None and bool(cost_of(look)))


def goes(look: Look) -> None:
    """Count a message that goes, for the others of its transaction."""
    counted, workspace_id = look.shared.counted, look.row.workspace_id
    if ("marketing", workspace_id) in counted and look.category is Category.MARKETING:
        counted["marketing", workspace_id][look.row.contact_id].insert(0, (object(), look.now))
    if ("spent", workspace_id) in counted:
        counted["spent", workspace_id] += cost_of(look) or 0


RULES: tuple[Callable[[Session, Look], Iterator[Finding]], ...] = (
    suppressed,
    window_closed,
    template_stopped,
    human_took_over,
    quiet_hours,
    frequency_cap,
    over_budget,
    held,
)


# --- what they share ---------------------------------------------------------------------------------------------


def cost_of(look: Look, parts: int | None = None) -> int | None:
    """Return what the message costs by the workspace's prices, in millionths; None without a price for it.

    Args:
        parts: how many it has, for one that does not exist yet.
    """
    prices = look.policy("prices")
    if prices is None:
        return None
    each = policies.price(prices[0], country_of(look), look.provider.medium, look.category)
    return None if each is None else round(float(each) * _MILLION) * (parts or look.row.parts or 1)


def country_of(look: Look) -> str | None:
    """Return the country whose prices count: that of the number, else of the user id, which begins with it."""
    if phone := look.identities.get("phone"):
        return phones.country(phone)
    user_id = look.identities.get("bsuid") or look.identities.get("parent_bsuid")
    return user_id.partition(".")[0] if user_id else None


def keep(session: Session, look: Look, found: list[Finding]) -> None:
    """Keep with a message why it was not sent, or not yet."""
    session.execute(
        sa.text("UPDATE messages SET gates = cast(:gates AS jsonb) WHERE id = :id"),
        {"id": look.row.id, "gates": dumps([finding.as_json() for finding in found])},
    )


def _period(local: datetime, per: str) -> tuple[datetime, datetime]:
    """Return when the day or month of a moment began, and when the next one does."""
    begin = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return begin, begin + timedelta(days=1)
    begin = begin.replace(day=1)
    return begin, (begin + timedelta(days=32)).replace(day=1)


def _whole(moment: datetime) -> datetime:
    """Return the next whole second: what people read is then what holds."""
    return moment if moment.microsecond == 0 else moment.replace(microsecond=0) + timedelta(seconds=1)


def _take_turns(session: Session, look: Look, names: list[str]) -> None:
    """Let one send after the other count; who only wants to know waits for nobody."""
    if look.decides:
        turns = sa.text("SELECT pg_advisory_xact_lock(hashtext(name)) FROM unnest(CAST(:names AS text[])) AS name")
        session.execute(turns, {"names": names})
