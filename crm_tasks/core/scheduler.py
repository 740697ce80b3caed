"""Our beat scheduler: `celery -A crm_tasks beat`, as many as you like. N are as correct as one; none delays only.

Each tick does every chore that is due. A chore that fails is logged and tried again at its next turn; the others go on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery.apps.beat import Beat as CeleryBeat
from celery.beat import Scheduler
from kombu.utils.imports import symbol_by_name

from crm_tasks.config import settings
from crm_tasks.core import calendar, db, holds, pace, pulse, rollup, sweep
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager

log = get_logger(__name__)

TICK = 0.5
# With more to ring than one tick may, the next comes sooner.
BUSY_TICK = 0.1
# The watermark by which everybody sees how old the last tick of any scheduler is.
WATERMARK = "scheduler"


_MARK = """
    INSERT INTO watermarks (name, at) VALUES (%s, now()) ON CONFLICT (name) DO UPDATE SET at = excluded.at
"""


@dataclass(slots=True)
class Chore:
    """Something done every so many seconds; `act` says whether there is more to do at once."""

    name: str
    every: float
    act: Callable[[], Any]
    due: float = 0.0


class Beat(CeleryBeat):
    """Celery's beat, which leaves the code of the tasks unloaded until an entry or a poison job needs it."""

    def init_loader(self) -> None:
        """Finish the app; the registry loads tasks at their first use."""
        self.app.finalize()


class LedgerScheduler(Scheduler):
    """Celery's beat with the ledger for a heap."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._postgres_since: float | None = None
        self._planned = False
        self._chores = [
            Chore("tick", 1.0, _leave_mark),
            Chore("calendar", 0.5, self._fire),
            Chore("ring", 0.0, _ring_due),
            Chore("lost", 2.0, _ring_lost),
            Chore("holds", 0.5, _let_go),
            Chore("leases", 2.0, self._expire),
            Chore("known", 5.0, sweep.free_known),
            Chore("pace", 1.0, pace.begin),
            Chore("rollup", 5.0, lambda: db.retrying(rollup.roll_up)),
        ]
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Announce this process; the schedule itself is in the ledger."""
        pulse.start(pulse.Identity(kind="scheduler", name="scheduler"))

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due; never raises, as an exception here would end beat."""
        moment = time.monotonic()
        more = False
        for chore in self._chores:
            if moment >= chore.due:
                chore.due = moment + chore.every
                more = self._do(chore) or more
        return BUSY_TICK if more else TICK

    def _do(self, chore: Chore) -> bool:
        began = time.monotonic()
        try:
            more = bool(chore.act())
        except Exception as error:  # noqa: BLE001  see above
            if db.is_disconnect(error):
                self._postgres_since = None
            chore.due = time.monotonic() + max(chore.every, 1.0)
            if rarely(f"scheduler.{chore.name}", 10):
                log.warning("scheduler.chore_failed", chore=chore.name, error=db.reason(error))
            return False
        if time.monotonic() - began > settings().lease.total_seconds() / 4:
            # Something stood still, and the workers' renewals with it.
            self._postgres_since = None
        elif self._postgres_since is None and chore.name == "tick":
            self._postgres_since = time.monotonic()
        return more

    def _fire(self) -> bool:
        if not self._planned:
            db.retrying(calendar.plan, self._entries)
            self._planned = True
        return sum(_fire_alone(entry) for entry in self._entries) > 0

    def _expire(self) -> int:
        """Take back leases, but only after a whole lease of undisturbed Postgres: sooner, no worker could renew."""
        since = self._postgres_since
        if since is None or time.monotonic() - since < settings().lease.total_seconds():
            return 0
        if not db.retrying(sweep.postgres_settled):
            return 0
        return sweep.expire_leases()

    @property
    def _entries(self) -> list[calendar.Entry]:
        return list(symbol_by_name(self.app.conf.crm_schedule))

    @property
    def schedule(self) -> dict:
        """Celery shows it at start; the entries are in the calendar."""
        return {}

    def close(self) -> None:
        """Say goodbye."""
        pulse.stop()
        manager().close_all()
        db.dispose()

    @property
    def info(self) -> str:
        """What beat prints at start."""
        return f"    . entries -> {len(self._entries)}, kept in Postgres"


def _fire_alone(entry: calendar.Entry) -> bool:
    """Fire one entry; one whose job cannot be accepted stands in nobody's way."""
    try:
        return db.retrying(calendar.fire, entry)
    except Exception as error:
        if db.is_disconnect(error):
            raise
        if rarely(f"calendar.{entry.name}", 10):
            log.exception("calendar.not_fired", entry=entry.name, reason=db.reason(error))
        return False


def _leave_mark() -> None:
    with db.autocommit() as connection:
        connection.execute(_MARK, (WATERMARK,))


def _ring_due() -> bool:
    if settings().broker_is_redis and not manager().ping("broker"):
        if rarely("scheduler.broker"):
            log.warning("scheduler.broker_away")
        return False
    return sum(sweep.ring_due(queue) for queue in Queue) > 0


def _ring_lost() -> bool:
    if settings().broker_is_redis and not manager().ping("broker"):
        return False
    return sum(sweep.ring_lost(queue) for queue in Queue) >= sweep.LOST_AT_ONCE


def _let_go() -> bool:
    return db.retrying(holds.let_go) >= holds.BATCH
