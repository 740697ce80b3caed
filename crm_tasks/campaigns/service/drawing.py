"""The next recipients of a campaign: looked at, judged, given their slots, and marked as being sent, set by set.

Nobody is claimed beforehand: who is drawn gets a message in state `sending` in the transaction that judges it, just
before the request leaves, or is left planned. So a kill leaves as unknown what was under way, and nobody else.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.campaigns.service import composing, guards, rendering, states, verdicts, writing
from crm_tasks.campaigns.service.verdicts import LATER, Outcome
from crm_tasks.campaigns.service.writing import Person
from crm_tasks.core import breaker, pace
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.messages.service import attachments, gates, pacing
from crm_tasks.messages.service.look import Look, prospects
from crm_tasks.messages.service.pacing import Start
from crm_tasks.messages.service.sending import Order
from crm_tasks.providers.provider import Address, Outgoing, Sender
from crm_tasks.workspaces import service as workspaces

AUTHOR = "campaign"
# How many are drawn at once, at most.
AT_ONCE = 100
# For whom these speak nobody is sent to now, and everybody stays planned: the campaign waits, or is halted.
_WAITS = (Outcome.HELD, Outcome.TEMPLATE_STOPPED)
_SOON = timedelta(seconds=1)
_HOLDS = sa.text("""
    SELECT EXISTS (SELECT FROM holds h
        WHERE h.released_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > crm_now()) AND h.scope = ANY(:scopes))
""")
_NEXT = sa.text("""
    SELECT contact_id, position FROM recipients
    WHERE campaign_id = :campaign AND state = 'planned' AND message_id IS NULL
      AND position > :after AND position <= :last
    ORDER BY position LIMIT :most FOR UPDATE SKIP LOCKED
""")
_THESE = sa.text("""
    SELECT contact_id, position FROM recipients
    WHERE campaign_id = :campaign AND state = 'planned' AND message_id IS NULL AND contact_id = ANY(:ids)
      AND position <= :last
    ORDER BY position FOR UPDATE SKIP LOCKED
""")


@dataclass(slots=True)
class Drawn:
    """What came of drawing.

    Args:
        orders: what to send, each at its slot.
        later: slots that are still far off, by contact: brought along when they are near.
        after: behind which position to draw next.
        wait: how long nobody can go; None if somebody may at once.
        over: nobody is left to draw.
        uploads: files that the provider must have first.
        soon: how many may go at once by what limits them; None if nobody was to be given a slot.
    """

    after: int = 0
    orders: list[Order] = field(default_factory=list)
    later: dict[uuid.UUID, Start] = field(default_factory=dict)
    wait: timedelta | None = None
    over: bool = False
    uploads: attachments.Uploads | None = None
    soon: int | None = None


def draw(
    session: Session,
    campaign_id: uuid.UUID,
    claim: Claim,
    *,
    after: int,
    most: int,
    later: Mapping[uuid.UUID, Start],
) -> Drawn:
    """Draw the next recipients, or those whose slot was brought along and is near; mark who goes as being sent."""
    campaign = states.get(session, None, campaign_id)
    last = guards.horizon(campaign)
    if campaign.state is not CampaignState.RUNNING or not last or _is_held(session, campaign):
        return _nobody(after, later, _SOON)
    rows = _rows(session, campaign, after, last, most, later)
    if not rows:
        # Whoever looks after the campaign begins its pumps again once more of them may go.
        return _nobody(after, later, None, over=not later)
    positions = {row.contact_id: row.position for row in rows}
    category = composing.category(session, composing.channel_of(session, campaign), campaign)
    looks = prospects(
        session,
        campaign.channel_id,
        list(positions),
        type=campaign.type,
        content=campaign.content,
        category=category,
        author=AUTHOR,
        decides=True,
    )
    files = _files(session, campaign, claim, looks)
    if isinstance(files, attachments.Uploads):
        return Drawn(after, uploads=files, later=dict(later))
    drawing = _Drawing(session, campaign, claim, positions, later, files)
    return drawing.drawn(looks, after)


def _nobody(after: int, later: Mapping[uuid.UUID, Start], wait: timedelta | None, *, over: bool = False) -> Drawn:
    for start in later.values():
        pace.give_back(start.slot)
    return Drawn(after, wait=wait, over=over)


def _is_held(session: Session, campaign: Campaign) -> bool:
    scopes = ["all", "queue:campaigns", "task:campaigns.pump", f"workspace:{campaign.workspace_id}"]
    scopes += [f"channel:{campaign.channel_id}", campaign.scope]
    return bool(session.scalar(_HOLDS, {"scopes": scopes}))


def _rows(
    session: Session, campaign: Campaign, after: int, last: int, most: int, later: Mapping[uuid.UUID, Start]
) -> Sequence[Any]:
    if later:
        values: dict[str, Any] = {"campaign": campaign.id, "ids": list(later), "last": last}
        return session.execute(_THESE, values).all()
    return session.execute(_NEXT, {"campaign": campaign.id, "after": after, "last": last, "most": most}).all()


def _files(
    session: Session, campaign: Campaign, claim: Claim, looks: Sequence[Look]
) -> dict[str, Any] | attachments.Uploads:
    """Return the content as the provider wants it, with its own names of files; or the files that it lacks, for this
    pump to bring: the others wait for it."""
    if not looks:
        return campaign.content
    return attachments.resolved(session, looks[0].channel, claim.id, campaign.type, campaign.content)


class _Drawing:
    """One draw: who of these goes now, who is put off, who is left out, who stays planned."""

    def __init__(
        self,
        session: Session,
        campaign: Campaign,
        claim: Claim,
        positions: Mapping[uuid.UUID, int],
        later: Mapping[uuid.UUID, Start],
        files: dict[str, Any],
    ) -> None:
        self._session, self._campaign, self._claim = session, campaign, claim
        self._positions, self._brought, self._files = positions, dict(later), files
        self._refused: list[tuple[uuid.UUID, gates.Finding]] = []
        self._put_off: list[Person] = []
        self._left = False
        self._people: Mapping[uuid.UUID, rendering.Person] = {}
        self._sender: Sender | None = None
        self._soon: int | None = None

    def drawn(self, looks: Sequence[Look], after: int) -> Drawn:
        if rendering.places(self._campaign.content):
            self._people = verdicts.people(self._session, looks)
        ready = self._judged(sorted(looks, key=lambda seen: self._positions[seen.row.contact_id]))
        missing = self._positions.keys() - {seen.row.contact_id for seen in looks}
        self._refused += [(contact_id, writing.GONE) for contact_id in missing]
        wait = self._reserve(ready)
        found = Drawn(max(self._positions.values()) if not self._brought else after, wait=wait, soon=self._soon)
        going = self._going(ready, found)
        going = self._let_through(going, found)
        going = self._afforded(going, found)
        written = writing.write(self._session, self._campaign, self._claim, going, self._put_off)
        writing.refuse(self._session, self._campaign, self._refused)
        goes = {each.contact_id for each in going}
        stays = [each.position for each in ready if each.contact_id not in goes]
        if self._left or stays:
            # From the first that stays planned on, those behind it are looked at once more.
            found.after = min([after if self._brought else found.after, *(place - 1 for place in stays)])
            found.wait = found.wait or (_SOON if self._left else timedelta(0))
        for contact_id, start in self._brought.items():
            if contact_id not in goes and contact_id not in found.later:
                pace.give_back(start.slot)
        found.orders = [self._order(each, message_id) for each, message_id in zip(going, written, strict=True)]
        return found

    def _judged(self, looks: Sequence[Look]) -> list[Person]:
        ready: list[Person] = []
        for seen in looks:
            contact_id = seen.row.contact_id
            person = self._people.get(contact_id, rendering.Person())
            verdict = verdicts.judge(self._session, seen, self._campaign.content, person)
            if verdict.outcome in _WAITS or (verdict.outcome is Outcome.OVER_BUDGET and ready):
                # Of those before some may find no slot, and then the budget is enough for this one.
                self._left = True
                continue
            measure = seen.provider.measure
            parts = measure(verdict.content) if measure and verdict.content else None
            each = Person(seen, self._positions[contact_id], verdict, gates.cost_of(seen, parts), parts)
            if verdict.outcome is Outcome.WILL_BE_SENT:
                ready.append(each)
                self._count(each)
            elif verdict.outcome in LATER and verdict.finding is not None and verdict.finding.until is not None:
                self._put_off.append(each)
            else:
                self._refused.append((contact_id, verdict.finding or writing.GONE))
        return ready

    def _count(self, each: Person) -> None:
        """Count one that goes before the next is judged, where a rule counts."""
        if gates.counts(each.seen):
            gates.goes(each.seen)

    def _reserve(self, ready: Sequence[Person]) -> timedelta | None:
        """Give each its slot, as many as are soon, and return how long the first stays away who gets none."""
        wanted = []
        for each in ready:
            each.start = self._brought.get(each.contact_id)
            if each.start is None:
                wanted.append(each)
        if wanted:
            self._soon = pacing.soon(wanted[0].seen, AT_ONCE)
            wanted = wanted[: self._soon]
        starts = pacing.reserve_many([(each.seen, self._claim.priority) for each in wanted]) if wanted else []
        for each, start in zip(wanted, starts, strict=True):
            each.start = start
        waits = [each.start.slot.wait for each in ready if each.start is not None and not each.start.slot.reserved]
        return min(waits, default=None)

    def _going(self, ready: Sequence[Person], found: Drawn) -> list[Person]:
        going = []
        for each in ready:
            if each.start is None or not each.start.slot.reserved:
                continue
            if each.start.left > pacing.MARK_AHEAD:
                found.later[each.contact_id] = each.start
            else:
                going.append(each)
        return going

    def _let_through(self, going: list[Person], found: Drawn) -> list[Person]:
        """Leave out those whom the breaker stops: a provider that keeps failing is left alone, or tried by one."""
        if not going:
            return going
        allowed, wait = breaker.permit(pacing.breaker_key(self._campaign.channel_id), len(going))
        return self._cut(going, allowed, found, wait)

    def _afforded(self, going: list[Person], found: Drawn) -> list[Person]:
        """Leave out those for whom the campaign's budget is not enough; its guard halts it."""
        if not going:
            return going
        allowed = guards.afford(self._session, self._campaign, [each.cost or 0 for each in going])
        return self._cut(going, allowed, found, _SOON)

    def _cut(self, going: list[Person], allowed: int, found: Drawn, wait: timedelta) -> list[Person]:
        for each in going[allowed:]:
            assert each.start is not None
            pace.give_back(each.start.slot)
            found.wait = max(found.wait or wait, wait)
        return going[:allowed]

    def _order(self, each: Person, message_id: uuid.UUID) -> Order:
        row, to = each.seen.row, each.seen.address()
        assert isinstance(to, Address)
        assert each.start is not None
        content = each.verdict.content or {}
        if self._files is not self._campaign.content:
            person = self._people.get(each.contact_id, rendering.Person())
            filled = rendering.render(self._files, person)
            content = content if isinstance(filled, rendering.Missing) else filled
        message = Outgoing(
            id=str(message_id),
            to=to,
            type=row.type,
            content=content,
            workspace_id=str(row.workspace_id),
            contact_id=str(row.contact_id),
            category=row.category,
        )
        self._sender = self._sender or workspaces.sender(each.seen.channel)
        return Order(each.seen.provider, self._sender, message, each.start)
