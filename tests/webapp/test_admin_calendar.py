"""The calendar: what is due next, day by day; moved and cancelled."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from crm_tasks.campaigns.models import CampaignState
from crm_tasks.core import calendar, db
from crm_tasks.messages.models import MessageState
from crm_tasks.schedule import ENTRIES
from tests.campaigns.audience import campaign, found
from tests.core.ledger import execute, job
from tests.fixtures import Demo
from tests.messages.outgoing import message
from tests.webapp.admins import Browser, browser
from tests.webapp.set_up import later

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(hour=9, minute=30, second=0, microsecond=0)

WORDS = "Good morning Ann"


@pytest.fixture
def admin(app: Flask, demo: Demo) -> Browser:
    """An admin who is logged in."""
    return browser(app, demo, "admin")


def test_what_is_due_stands_under_its_day(app: Flask, demo: Demo, other: Demo, admin: Browser) -> None:
    assert "Nothing is scheduled." in admin.text("/calendar")
    message_id, theirs = later(demo, WORDS, TOMORROW), later(other, WORDS, TOMORROW)
    campaign_id = campaign(demo, name="Spring sale", scheduled_for=TOMORROW + timedelta(days=2))
    campaign(demo, name="A draft")
    page = admin.text("/calendar")
    days = re.findall(r'aria-label="(\w+, \d\d \w+ \d{4})"', page)
    assert [f"{TOMORROW + timedelta(days=each):%A, %d %B %Y}" for each in (0, 2)] == days
    assert "Good morning Ann" in page and "09:30" in page
    assert f"/calendar/messages/{message_id}/move" in page and f"/calendar/campaigns/{campaign_id}/move" in page
    assert str(theirs) not in page and "A draft" not in page
    assert f"{TOMORROW:%a %d %b}: 1" in page
    viewer = browser(app, demo, "viewer").text("/calendar")
    assert "one text message" in viewer and "Good morning" not in viewer
    assert 'action="/admin/calendar' not in viewer


def test_a_message_is_moved_in_the_zone_of_who_moves_it(demo: Demo, admin: Browser) -> None:
    message_id = later(demo, WORDS, TOMORROW)
    execute("UPDATE users SET time_zone = 'America/New_York'")
    wall = (TOMORROW + timedelta(days=3)).astimezone(ZoneInfo("America/New_York")).replace(hour=8, minute=0)
    answer = admin.post(f"/calendar/messages/{message_id}/move", at=f"{wall:%Y-%m-%dT%H:%M}")
    assert answer.status_code == 302
    moved = message(message_id)
    assert moved.scheduled_for == job(moved.job_id).run_at == wall.astimezone(UTC)  # type: ignore[arg-type]
    assert f'value="{wall:%Y-%m-%dT%H:%M}"' in admin.text("/calendar")
    for wrong in ("", "soon", "2026-13-01T00:00", "9999-12-31T23:59"):
        answer = admin.post(f"/calendar/messages/{message_id}/move", at=wrong)
        assert (answer.status_code, 'role="alert"' in answer.get_data(as_text=True)) == (422, True), wrong
    assert admin.post(f"/calendar/messages/{message_id}/explode").status_code == 404


def test_a_message_is_cancelled(demo: Demo, admin: Browser) -> None:
    message_id = later(demo, WORDS, TOMORROW)
    assert admin.post(f"/calendar/messages/{message_id}/cancel").status_code == 302
    assert message(message_id).state is MessageState.CANCELLED
    assert admin.post(f"/calendar/messages/{message_id}/cancel").status_code == 422
    assert "Nothing is scheduled." in admin.text("/calendar")


def test_a_campaign_is_moved_and_cancelled(app: Flask, demo: Demo) -> None:
    who = browser(app, demo, "marketer")
    campaign_id = campaign(demo, scheduled_for=TOMORROW)
    at = TOMORROW + timedelta(days=7)
    assert who.post(f"/calendar/campaigns/{campaign_id}/move", at=f"{at:%Y-%m-%dT%H:%M}").status_code == 302
    assert found(campaign_id).scheduled_for == at
    assert who.post(f"/calendar/campaigns/{campaign_id}/move", at="x").status_code == 422
    assert who.post(f"/calendar/campaigns/{campaign_id}/cancel").status_code == 302
    assert found(campaign_id).state is CampaignState.CANCELLED
    assert who.post(f"/calendar/campaigns/{campaign_id}/move", at=f"{at:%Y-%m-%dT%H:%M}").status_code == 422


def test_what_recurs_is_shown_to_operators(app: Flask, demo: Demo, admin: Browser) -> None:
    with db.transaction() as session:
        calendar.plan(session, ENTRIES)
    page = browser(app, demo, "operator").text("/calendar")
    for entry in ENTRIES:
        assert entry.name in page and f'value="task:{entry.task}"' in page
    assert "clean-up" not in admin.text("/calendar")


def test_a_calendar_goes_on_where_it_ended(demo: Demo, admin: Browser) -> None:
    for _ in range(52):
        later(demo, WORDS, TOMORROW)
    ids = [str(each) for (each,) in execute("SELECT id FROM messages ORDER BY scheduled_for, id")]
    late = campaign(demo, name="Much later", scheduled_for=TOMORROW + timedelta(days=30))
    first = admin.text("/calendar")
    link = first.partition('class="btn" href="/admin/calendar?')[2].partition('"')[0].replace("&amp;", "&")
    second = admin.text(f"/calendar?{link}")
    assert [each in first for each in ids] == [True] * 50 + [False] * 2
    assert [each in second for each in ids] == [False] * 50 + [True] * 2
    assert (str(late) in first, str(late) in second) == (False, True)
    for wrong in ("after=x", "after=2026-01-01", "after=2026-01-01T00:00:00&after_id=1"):
        assert admin.get(f"/calendar?{wrong}").status_code == 404
