"""The calendar: recurring jobs. An instant fires by compare-and-set, so any number of schedulers fire it once.

Cron expressions are read in the entry's time zone, and daylight saving is the rule of Debian's cron, kept by cronsim.
A fixed time (`30 2 * * *`) that is skipped fires at the first valid instant after it, and one that comes twice fires
the first time. An entry whose minute or hour begins with `*` goes by the time that passes: it fires in both of two
equal hours, and not for one that there is not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from cronsim import CronSim, CronSimError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from crm_tasks.core.db import changed, now
from crm_tasks.core.errors import ConfigError
from crm_tasks.core.jobs.enqueue import enqueue
from crm_tasks.core.jobs.model import CalendarEntry
from crm_tasks.core.log import get_logger

log = get_logger(__name__)

# An instant met so much later counts as missed; then the entry's catch-up decides.
LATE = timedelta(seconds=60)
_MOST_AT_ONCE = 1_000
_CATCH_UP = ("last", "all", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the schedule.

    `catch_up` says what happens to instants missed while no scheduler ran: `last` fires once for all of them, `all`
    fires each, `none` fires none.

    Raises:
        ConfigError: no such time zone or catch-up, or an expression that is not one of five fields.
    """

    name: str
    task: str
    cron: str
    tz: str = "UTC"
    args: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 5
    catch_up: Literal["last", "all", "none"] = "last"

    def __post_init__(self) -> None:
        """Refuse what could never fire, at the start of every process that reads the schedule."""
        try:
            zone = ZoneInfo(self.tz)
        except (KeyError, ValueError, OSError):
            raise ConfigError(f"Calendar entry {self.name!r}: there is no time zone {self.tz!r}.") from None
        try:
            # A sixth field, for seconds, would go without the rule of daylight saving.
            next(CronSim(self.cron if len(self.cron.split()) == 5 else "", datetime.now(zone)))
        except (CronSimError, StopIteration) as error:
            why = f" ({error})" if str(error) else ""
            raise ConfigError(
                f"Calendar entry {self.name!r}: {self.cron!r} is not a cron expression of five fields{why}."
            ) from None
        if self.catch_up not in _CATCH_UP:
            raise ConfigError(f"Calendar entry {self.name!r}: catch_up is one of {', '.join(_CATCH_UP)}.")

    @property
    def spec(self) -> str:
        """Return what, when changed, makes a new plan necessary."""
        return f"{self.cron} {self.tz}"

    def after(self, moment: datetime) -> datetime:
        """Return the first instant strictly after a moment, in UTC."""
        instants = (local.astimezone(UTC) for local in CronSim(self.cron, moment.astimezone(ZoneInfo(self.tz))))
        # In the second of two equal hours cronsim begins with the first one's instants: those are over.
        return next(instant for instant in instants if instant > moment)


def plan(session: Session, entries: Iterable[Entry]) -> None:
    """Make the table know the entries. A changed plan begins after the present, so no instant can fire again."""
    moment: datetime = session.scalar(sa.select(now()))  # type: ignore[assignment]
    for entry in sorted(entries, key=lambda e: e.name):
        statement = insert(CalendarEntry).values(entry=entry.name, spec=entry.spec, next_at=entry.after(moment))
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["entry"],
                set_={"spec": statement.excluded.spec, "next_at": statement.excluded.next_at},
                where=CalendarEntry.spec != statement.excluded.spec,
            )
        )


def upcoming(session: Session) -> list[CalendarEntry]:
    """Return the entries that a scheduler knows, the next one first."""
    return list(session.scalars(sa.select(CalendarEntry).order_by(CalendarEntry.next_at, CalendarEntry.entry)))


def fire(session: Session, entry: Entry) -> bool:
    """Fire the entry if it is due, in the caller's transaction; True if there is more to fire."""
    row = session.execute(
        sa.select(CalendarEntry.next_at, now().label("now")).where(
            CalendarEntry.entry == entry.name, CalendarEntry.next_at <= now()
        )
    ).first()
    if row is None:
        return False
    instant, following = _choose(entry, row.next_at, row.now)
    taken = session.execute(
        sa.update(CalendarEntry)
        .where(
            CalendarEntry.entry == entry.name,
            CalendarEntry.next_at == row.next_at,
            CalendarEntry.next_at <= now(),
        )
        .values(next_at=following, last_at=instant or CalendarEntry.last_at)
        .execution_options(synchronize_session=False)
    )
    if changed(taken) != 1:
        return False
    if instant is not None:
        _enqueue(session, entry, instant)
    return following <= row.now


def _enqueue(session: Session, entry: Entry, instant: datetime) -> None:
    key = f"calendar:{entry.name}:{instant.isoformat()}"
    job_id = enqueue(session, entry.task, args=entry.args, priority=entry.priority, unique_key=key)
    session.execute(
        sa.update(CalendarEntry)
        .where(CalendarEntry.entry == entry.name)
        .values(last_job_id=job_id)
        .execution_options(synchronize_session=False)
    )
    log.info("calendar.fired", entry=entry.name, instant=instant.isoformat(), job_id=str(job_id))


def _choose(entry: Entry, due: datetime, moment: datetime) -> tuple[datetime | None, datetime]:
    """Return which instant to fire now (or none), and the next one to wait for."""
    following = entry.after(due)
    if entry.catch_up == "all":
        return due, following
    last = due
    for _ in range(_MOST_AT_ONCE):
        if following > moment:
            break
        last, following = following, entry.after(following)
    else:
        following = entry.after(moment)
    if entry.catch_up == "none" and moment - last > LATE:
        return None, following
    return last, following
