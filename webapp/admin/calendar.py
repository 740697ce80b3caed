"""The calendar: what is going to happen by itself, day by day; a message or a campaign is moved or cancelled here."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from crm_tasks import schedule
from crm_tasks.campaigns.models import Campaign, CampaignState
from crm_tasks.campaigns.service import drafting, lifecycle
from crm_tasks.contacts import directory
from crm_tasks.core import calendar as recurring
from crm_tasks.core import db
from crm_tasks.core.errors import DomainError, FieldError, Invalid, NotFound
from crm_tasks.core.jobs.model import CalendarEntry
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import scheduled
from crm_tasks.messages.service.hours import instant
from crm_tasks.workspaces import service as workspaces
from webapp.admin import blueprint
from webapp.admin.access import here
from webapp.admin.forms import typed
from webapp.admin.shown import zone

SHOWN, DAYS = 50, 14
_TASKS = {entry.name: entry.task for entry in schedule.ENTRIES}


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is going to happen; one of these has it."""

    at: datetime
    message: Message | None = None
    campaign: Campaign | None = None
    entry: CalendarEntry | None = None


@blueprint.get("/calendar")
def calendar() -> str:
    """Show what is due next, day by day."""
    return _page()


@blueprint.post("/calendar/messages/<uuid:message_id>/<action>")
def scheduled_message(message_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Send a message at another time, or not at all."""
    me = here()

    def move(session: Session) -> None:
        scheduled.move(session, message_id, _when(), actor=me.actor, workspace_id=me.workspace_id)

    def cancel(session: Session) -> None:
        scheduled.cancel(session, message_id, actor=me.actor, workspace_id=me.workspace_id)

    return _try({"move": move, "cancel": cancel}, action)


@blueprint.post("/calendar/campaigns/<uuid:campaign_id>/<action>")
def scheduled_campaign(campaign_id: uuid.UUID, action: str) -> ResponseReturnValue:
    """Start a campaign at another time, or not at all."""
    me = here()

    def move(session: Session) -> None:
        drafting.change(session, me.workspace_id, campaign_id, {"scheduled_for": _when()}, actor=me.actor)

    def cancel(session: Session) -> None:
        lifecycle.cancel(session, me.workspace_id, campaign_id, actor=me.actor)

    return _try({"move": move, "cancel": cancel}, action)


def _try(actions: dict[str, Callable[[Session], None]], action: str) -> ResponseReturnValue:
    if action not in actions:
        raise NotFound("There is no such button.")
    try:
        with db.transaction() as session:
            actions[action](session)
    except NotFound:
        raise
    except DomainError as error:
        words = [error.message, error.hint, *(field.message for field in error.fields)]
        return _page(" ".join(filter(None, words))), 422
    return redirect(url_for("admin.calendar"))


def _when() -> datetime:
    """Return the moment that a form names, in the zone of who sends it."""
    try:
        at = datetime.fromisoformat(typed().get("at", ""))
        return at if at.tzinfo else instant(at.date(), at.time(), zone(), first=True)
    except (ValueError, OverflowError):
        remedy = FieldError("at", "Write a day and a time, such as 2027-01-31 09:00.")
        raise Invalid("This is no moment.", fields=[remedy]) from None


def _page(problem: str = "") -> str:
    me, after = here(), _after()
    with db.transaction() as session:
        moment: datetime = session.scalar(sa.select(db.now()))  # type: ignore[assignment]
        messages = scheduled.listed(session, me.workspace_id, after=after, limit=SHOWN + 1)
        more, messages = messages[SHOWN - 1] if len(messages) > SHOWN else None, messages[:SHOWN]
        items = [Item(each.scheduled_for or moment, message=each) for each in messages]
        items += _rest(session, after[0] if after else moment, more.scheduled_for if more else None)
        days = scheduled.by_day(session, me.workspace_id, str(zone()), days=DAYS)
        names = directory.identities(session, {each.contact_id for each in messages if each.contact_id})
        channels = {each.id: each.name for each in workspaces.channels(session, me.workspace_id)}
        return render_template(
            "admin/calendar.html",
            days=_days(items),
            bars=list(_bars(moment, days)),
            more=more,
            names=names,
            channels=channels,
            tasks=_TASKS,
            problem=problem,
        )


def _rest(session: Session, since: datetime, until: datetime | None) -> list[Item]:
    """Return what is no message: campaigns, and for operators what recurs; they are few."""
    me = here()
    campaigns = drafting.listed(session, me.workspace_id, state=CampaignState.SCHEDULED, limit=200)
    found = [Item(each.scheduled_for, campaign=each) for each in campaigns if each.scheduled_for]
    if me.operator:
        found += [Item(each.next_at, entry=each) for each in recurring.upcoming(session)]
    return [each for each in found if (until is None or each.at <= until) and (each.at > since or not _after())]


def _days(items: list[Item]) -> list[tuple[date, list[Item]]]:
    def day(item: Item) -> date:
        return item.at.astimezone(zone()).date()

    ordered = sorted(items, key=lambda item: item.at)
    return [(at, list(found)) for at, found in groupby(ordered, key=day)]


def _bars(moment: datetime, counts: dict[date, int]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    today = moment.astimezone(zone()).date()
    for day in (today + timedelta(days=each) for each in range(DAYS)):
        yield f"{day:%a %d %b}", [("in", counts.get(day, 0))]


def _after() -> tuple[datetime, uuid.UUID] | None:
    """Return behind which message a page begins."""
    given: Any = request.args
    if not given.get("after"):
        return None
    try:
        at = datetime.fromisoformat(given["after"])
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(UTC), uuid.UUID(given.get("after_id", ""))
    except (ValueError, OverflowError):
        raise NotFound("There is no such page of this list.", hint="Begin at its first page.") from None
