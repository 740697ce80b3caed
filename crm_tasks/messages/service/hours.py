"""Quiet hours in the recipient's own time zone, daylight saving included."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import timezone

_UNKNOWN = timezone.UNKNOWN_TIMEZONE


def zones_of(contact_zone: str | None, phone: str | None) -> list[ZoneInfo]:
    """Return where a person may be: the zone that is known, else every zone of the phone number, else UTC."""
    names = [contact_zone] if contact_zone else _of_number(phone)
    found = []
    for name in names:
        try:
            found.append(ZoneInfo(name))
        except (KeyError, ValueError, OSError):
            continue
    return found or [ZoneInfo("UTC")]


def opens_at(now: datetime, start: time, end: time, zones: Iterable[ZoneInfo]) -> datetime | None:
    """Return when the last of these zones leaves its quiet hours; None if it is quiet in none.

    Args:
        start, end: wall-clock times; quiet is from `start` until just before `end`, over midnight if it is later.
    """
    moment = now
    # What is open in one zone may be quiet in another by then: until it is open in all, or never within two days.
    for _ in range(8):
        later = [found for zone in zones if (found := _end_of_quiet(moment, start, end, zone)) is not None]
        if not later:
            return moment if moment > now else None
        moment = max(later)
    return moment


def _end_of_quiet(now: datetime, start: time, end: time, zone: ZoneInfo) -> datetime | None:
    local = now.astimezone(zone)
    for day in (local.date() - timedelta(days=1), local.date()):
        last = day if start < end else day + timedelta(days=1)
        begins, ends = instant(day, start, zone), instant(last, end, zone)
        if begins <= now < ends:
            return ends
    return None


def instant(day: date, wall: time, zone: ZoneInfo, *, first: bool = False) -> datetime:
    """Return a wall-clock time as an instant; one that daylight saving skips is the first that exists after it.

    Of a time that comes twice it is the second: quiet lasts until it is surely over. With `first`, it is the first.
    """
    instant = datetime.combine(day, wall, zone).replace(fold=0 if first else 1).astimezone(UTC)
    if instant.astimezone(zone).time() == wall:
        return instant
    # Skipped: the two readings lie on either side of the jump, which is where the later wall clock begins.
    before = datetime.combine(day, wall, zone).replace(fold=0).utcoffset() or timedelta(0)
    after = datetime.combine(day, wall, zone).replace(fold=1).utcoffset() or timedelta(0)
    low, high = sorted((_shifted(day, wall, before), _shifted(day, wall, after)))
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _shifted(day: date, wall: time, offset: timedelta) -> datetime:
    return (datetime.combine(day, wall) - offset).replace(tzinfo=UTC)


def _of_number(phone: str | None) -> list[str]:
    if not phone:
        return []
    try:
        parsed = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return []
    return [name for name in timezone.time_zones_for_number(parsed) if name != _UNKNOWN]
