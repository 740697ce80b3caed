"""Quiet hours by the recipient's own clock, over both nights on which it jumps."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_tasks.messages.service.hours import opens_at, zones_of

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "start", "end", "until"),
    [
        ("2027-01-15T20:00", "21:00", "08:00", "2027-01-16T07:00"),  # 21:00 in Berlin: begins now
        ("2027-01-15T19:59:59", "21:00", "08:00", None),
        ("2027-01-16T06:59:59", "21:00", "08:00", "2027-01-16T07:00"),
        ("2027-01-16T07:00", "21:00", "08:00", None),  # 08:00: over
        ("2027-01-16T11:30", "12:00", "14:00", "2027-01-16T13:00"),  # within one day
        ("2027-01-16T13:00", "12:00", "14:00", None),
        # 28 March, 02:00 becomes 03:00: the night is an hour shorter, and 02:30 is not there.
        ("2027-03-27T21:00", "21:00", "08:00", "2027-03-28T06:00"),
        ("2027-03-27T21:00", "21:00", "02:30", "2027-03-28T01:00"),
        ("2027-03-28T00:59:59", "21:00", "02:30", "2027-03-28T01:00"),
        ("2027-03-28T01:00", "21:00", "02:30", None),
        # 31 October, 03:00 becomes 02:00: 02:30 comes twice, and quiet lasts until the second is over.
        ("2027-10-30T21:00", "21:00", "02:30", "2027-10-31T01:30"),
        ("2027-10-31T00:45", "21:00", "02:30", "2027-10-31T01:30"),
        ("2027-10-31T01:30", "21:00", "02:30", None),
    ],
)
def test_quiet_ends_at_the_exact_second(now: str, start: str, end: str, until: str | None) -> None:
    found = opens_at(utc(now), time.fromisoformat(start), time.fromisoformat(end), [BERLIN])
    assert found == (utc(until) if until else None)


def test_a_number_of_many_zones_is_quiet_while_it_is_night_in_any() -> None:
    zones = zones_of(None, "+12025550123")  # Washington: one zone
    assert [zone.key for zone in zones] == ["America/New_York"]
    many = zones_of(None, "+18005550123")  # toll-free: all of North America
    assert len(many) > 3
    evening = utc("2027-01-16T02:00")  # 21:00 in New York, 18:00 in Los Angeles
    until = opens_at(evening, time(21), time(8), many)
    assert until is not None
    assert all(not (time(21) <= until.astimezone(z).time() or until.astimezone(z).time() < time(8)) for z in many)


def test_the_zone_of_a_contact_leads_and_an_unknown_one_is_no_error() -> None:
    assert [zone.key for zone in zones_of("Asia/Tokyo", "+4915112345678")] == ["Asia/Tokyo"]
    assert [zone.key for zone in zones_of("Mars/Olympus", "+4915112345678")] == ["UTC"]
    assert [zone.key for zone in zones_of(None, "nonsense")] == ["UTC"]


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1)),
    start=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    end=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    zone=st.sampled_from(ZONES),
)
def test_when_it_opens_it_is_open_and_the_second_before_it_is_not(
    now: datetime, start: time, end: time, zone: str
) -> None:
    zones = [ZoneInfo(zone)]
    moment = now.replace(tzinfo=UTC, microsecond=0)
    if start == end:
        return
    until = opens_at(moment, start, end, zones)
    if until is None:
        return
    assert moment < until <= moment + timedelta(days=1, hours=2)
    assert opens_at(until, start, end, zones) is None
    assert opens_at(until - timedelta(seconds=1), start, end, zones) == until
