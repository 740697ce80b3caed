"""The calendar: which instants there are, and that each has exactly one job."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_tasks.core import calendar, db
from crm_tasks.core.calendar import Entry
from crm_tasks.core.errors import ConfigError
from crm_tasks.core.jobs.model import CalendarEntry, Job
from crm_tasks.core.scheduler import LedgerScheduler
from tests.core.ledger import NOTE, execute, in_threads, jobs, take, update

Clock = Callable[[str], None]
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def entry(cron: str = "0 * * * *", tz: str = "UTC", **options: Any) -> Entry:
    options = {"name": "e", "task": NOTE, "args": {"path": "/dev/null"}, **options}
    return Entry(cron=cron, tz=tz, **options)


def plan(*entries: Entry) -> None:
    db.retrying(calendar.plan, entries)


def fire(wanted: Entry) -> bool:
    return db.retrying(calendar.fire, wanted)


def fire_all(wanted: Entry) -> None:
    while fire(wanted):
        pass


def at(clock: Clock, moment: str) -> None:
    clock(f"timestamptz '{moment}'")


def instants(name: str = "e") -> list[str]:
    """Return the instants of an entry that have a job, by the keys that the jobs have or had."""
    keys = [row.unique_key or row.key_was for row in jobs(Job.task == NOTE)]
    return [key.removeprefix(f"calendar:{name}:").removesuffix(":00+00:00") for key in keys if key]


def row(name: str = "e") -> CalendarEntry:
    with db.transaction() as session:
        return session.get_one(CalendarEntry, name)


# --- which instants there are ------------------------------------------------------------------------------------

SPRING, AUTUMN = "2027-03-28", "2026-10-25"
NIGHTS = {
    # 02:00 to 03:00 is not: a fixed time in it is at 03:00, once for all of them.
    ("30 2 * * *", BERLIN, SPRING): ["01:00"],
    ("0,20,40 2 * * *", BERLIN, SPRING): ["01:00"],
    ("0 2,3 * * *", BERLIN, SPRING): ["01:00"],
    ("0 * * * *", BERLIN, SPRING): ["00:00", "01:00", "02:00"],
    ("*/15 2 * * *", BERLIN, SPRING): [],
    ("30 1 * * *", BERLIN, SPRING): ["00:30"],
    # 02:00 to 03:00 is twice: a fixed time is the first, what goes by the time that passes is both.
    ("30 2 * * *", BERLIN, AUTUMN): ["00:30"],
    ("0 2,3 * * *", BERLIN, AUTUMN): ["00:00", "02:00"],
    ("0 * * * *", BERLIN, AUTUMN): ["00:00", "01:00", "02:00"],
    ("*/30 2 * * *", BERLIN, AUTUMN): ["00:00", "00:30", "01:00", "01:30"],
    ("30 2 * * *", BERLIN, "2027-10-31"): ["00:30"],
    ("30 2 * * *", NEW_YORK, "2027-03-14"): ["07:00"],
    ("0 1-3 * * *", NEW_YORK, "2027-03-14"): ["06:00", "07:00"],
    ("30 1 * * *", NEW_YORK, "2026-11-01"): ["05:30"],
    ("30 * * * *", NEW_YORK, "2026-11-01"): ["05:30", "06:30", "07:30"],
    # Midnight is skipped here, and here the clock moves by half an hour.
    ("0 0 * * *", "Africa/Cairo", "2026-04-23"): ["22:00"],
    ("0 0 * * *", "Africa/Cairo", "2026-04-24"): ["21:00"],
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04"): ["14:45"],
}
# The hours of each night, UTC, in which anything can happen.
HOURS = {
    BERLIN: (0, 3),
    NEW_YORK: (5, 8),
    "Africa/Cairo": (21, 23),
    "Australia/Lord_Howe": (14, 16),
}


@pytest.mark.parametrize(("cron", "tz", "night"), NIGHTS)
def test_the_nights_of_daylight_saving_are_decided(cron: str, tz: str, night: str) -> None:
    first, last = (datetime.fromisoformat(f"{night}T{hour:02}:00+00:00") for hour in HOURS[tz])
    found, moment = [], first - timedelta(seconds=1)
    while (moment := entry(cron, tz).after(moment)) < last:
        found.append(f"{moment:%H:%M}")
    assert found == NIGHTS[cron, tz, night]


@pytest.mark.parametrize("cron", ["30 2 * * *", "10,50 2 * * *", "0 * * * *", "*/20 2 * * *"])
@pytest.mark.parametrize("night", [SPRING, AUTUMN])
def test_the_next_instant_is_never_in_the_past(cron: str, night: str) -> None:
    for seconds in range(0, 4 * 3600, 299):
        moment = datetime.fromisoformat(f"{night}T00:00+00:00") + timedelta(seconds=seconds, microseconds=seconds)
        assert entry(cron, BERLIN).after(moment) > moment


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cron": "every day"}, "'every day' is not a cron expression"),
        ({"cron": "60 * * * *"}, "Bad minute"),
        ({"cron": "0 0 31 2 *"}, "Bad day-of-month"),
        ({"cron": "0 0 0 * * *"}, "five fields"),
        ({"cron": ""}, "five fields"),
        ({"tz": "Europe/Atlantis"}, "no time zone 'Europe/Atlantis'"),
        ({"tz": "Europe"}, "no time zone"),
        ({"tz": "../../etc/passwd"}, "no time zone"),
        ({"tz": ""}, "no time zone"),
        ({"catch_up": "some"}, "catch_up is one of last, all, none"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_name_and_what_is_wrong(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        entry(**{"name": "the entry", **wrong})
    assert "the entry" in str(refused.value)


# --- firing ------------------------------------------------------------------------------------------------------


def test_an_entry_fires_at_its_instant_and_not_before(clock: Clock) -> None:
    hourly = entry(priority=3)
    at(clock, "2026-06-01 11:58Z")
    plan(hourly)
    at(clock, "2026-06-01 11:59:59.999Z")
    assert not fire(hourly) and jobs() == []
    at(clock, "2026-06-01 12:00Z")
    fire(hourly)
    fire(hourly)
    [made] = jobs()
    assert (made.task, made.args, made.priority, made.queue) == (NOTE, {"path": "/dev/null"}, 3, "messages")
    assert instants() == ["2026-06-01T12:00"]
    assert (row().next_at, row().last_at) == (
        datetime(2026, 6, 1, 13, tzinfo=UTC),
        datetime(2026, 6, 1, 12, tzinfo=UTC),
    )
    assert row().last_job_id == made.id


@pytest.mark.parametrize(
    ("catch_up", "late", "fired"),
    [
        ("last", "15:30", ["2026-06-01T15:00"]),
        ("all", "15:30", [f"2026-06-01T{hour}:00" for hour in (12, 13, 14, 15)]),
        ("none", "15:30", []),
        ("none", "15:00:30", ["2026-06-01T15:00"]),
    ],
)
def test_missed_instants_are_caught_up_with_as_the_entry_says(
    clock: Clock, catch_up: str, late: str, fired: list[str]
) -> None:
    hourly = entry(catch_up=catch_up)
    at(clock, "2026-06-01 11:30Z")
    plan(hourly)
    at(clock, f"2026-06-01 {late}Z")
    fire_all(hourly)
    assert instants() == fired
    assert row().next_at == datetime(2026, 6, 1, 16, tzinfo=UTC)


def test_after_a_year_away_one_look_is_enough(clock: Clock) -> None:
    """525,600 minutes were missed: the next instant is found without walking through all of them."""
    minutely = entry("* * * * *")
    at(clock, "2025-06-01 12:00Z")
    plan(minutely)
    at(clock, "2026-06-01 12:00:10Z")
    assert not fire(minutely)
    assert len(jobs()) == 1
    assert row().next_at == datetime(2026, 6, 1, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize("catch_up", ["last", "all"])
def test_two_schedulers_that_have_both_read_an_instant_fire_it_once_though_its_job_is_over(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, catch_up: str
) -> None:
    """The slow one has read that the entry is due, stands still, and goes on when the job has long succeeded."""
    hourly = entry(catch_up=catch_up)
    at(clock, "2026-06-01 11:30Z")
    plan(hourly)
    at(clock, "2026-06-01 12:00:01Z")
    read, go_on, choose = threading.Event(), threading.Event(), calendar._choose

    def standing_still(*args: Any) -> Any:
        if threading.current_thread().name == "slow":
            read.set()
            assert go_on.wait(20)
        return choose(*args)

    monkeypatch.setattr(calendar, "_choose", standing_still)
    slow = threading.Thread(target=fire, args=(hourly,), name="slow")
    slow.start()
    assert read.wait(10)
    fire(hourly)
    [made] = jobs()
    take(made.id)
    update([made.id], "state = 'succeeded', lease_until = NULL, finished_at = now()")
    go_on.set()
    slow.join(20)
    assert [each.id for each in jobs()] == [made.id]
    assert row().next_at == datetime(2026, 6, 1, 13, tzinfo=UTC)


def test_many_schedulers_at_one_instant_fire_it_once(clock: Clock) -> None:
    hourly = entry(catch_up="all")
    at(clock, "2026-06-01 09:30Z")
    plan(hourly)
    at(clock, "2026-06-01 12:00:01Z")
    answers = in_threads(*[lambda: fire_all(hourly)] * 6)
    assert answers == [None] * 6
    assert sorted(instants()) == ["2026-06-01T10:00", "2026-06-01T11:00", "2026-06-01T12:00"]


def test_an_instant_and_its_job_are_one_transaction(clock: Clock) -> None:
    """Without the job, the instant has not fired."""
    broken = entry(task="messages.no_such_task")
    at(clock, "2026-06-01 11:30Z")
    plan(broken)
    at(clock, "2026-06-01 12:00Z")
    with pytest.raises(Exception, match="no task"):
        fire(broken)
    assert (row().next_at, row().last_at) == (datetime(2026, 6, 1, 12, tzinfo=UTC), None)


def test_an_entry_that_cannot_fire_stands_in_no_others_way(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry(name="a broken one", task="messages.no_such_task"), entry()]
    monkeypatch.setattr(LedgerScheduler, "_entries", property(lambda self: entries))
    scheduler = LedgerScheduler.__new__(LedgerScheduler)
    scheduler._planned = False
    at(clock, "2026-06-01 11:30Z")
    scheduler._fire()
    at(clock, "2026-06-01 12:00Z")
    scheduler._fire()
    assert instants() == ["2026-06-01T12:00"]


def test_an_outage_of_postgres_is_not_taken_for_a_broken_entry(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_tasks.core import scheduler

    def away(*_: Any) -> None:
        raise db.psycopg.OperationalError("the connection is closed")

    monkeypatch.setattr(db, "retrying", away)
    with pytest.raises(db.psycopg.OperationalError):
        scheduler._fire_alone(entry())


# --- changing ----------------------------------------------------------------------------------------------------


def test_a_changed_expression_begins_after_the_present_so_no_instant_fires_again(clock: Clock) -> None:
    at(clock, "2026-06-01 11:30Z")
    plan(entry())
    at(clock, "2026-06-01 12:10Z")
    fire(entry())
    plan(entry("*/5 * * * *"))
    assert row().next_at == datetime(2026, 6, 1, 12, 15, tzinfo=UTC)
    plan(entry("0 * * * *", NEW_YORK))
    assert row().next_at == datetime(2026, 6, 1, 13, tzinfo=UTC)
    fire(entry("0 * * * *", NEW_YORK))
    assert instants() == ["2026-06-01T12:00"]


def test_an_entry_changed_within_an_hour_that_comes_twice_does_not_fire_for_the_first(clock: Clock) -> None:
    """02:30 was at 00:30 UTC; at 01:10 UTC the clocks show 02:10 for the second time."""
    at(clock, f"{AUTUMN} 00:20Z")
    plan(entry("30 2 * * *", BERLIN))
    at(clock, f"{AUTUMN} 00:31Z")
    fire(entry("30 2 * * *", BERLIN))
    at(clock, f"{AUTUMN} 01:10Z")
    plan(entry("20,30 2 * * *", BERLIN))
    fire_all(entry("20,30 2 * * *", BERLIN))
    assert instants() == [f"{AUTUMN}T00:30"]
    assert row().next_at == datetime(2026, 10, 26, 1, 20, tzinfo=UTC)


def test_a_restart_with_the_same_schedule_changes_nothing(clock: Clock) -> None:
    at(clock, "2026-06-01 11:30Z")
    plan(entry(), entry(name="other"))
    at(clock, "2026-06-01 14:30Z")
    plan(entry(), entry(name="other"))
    assert row().next_at == row("other").next_at == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert execute("SELECT count(*) FROM calendar") == [(2,)]
