"""Tables that grow with every webhook are partitioned by id (UUIDv7, so by time): old parts are dropped whole."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.core.log import get_logger
from crm_tasks.core.types import id_floor

log = get_logger(__name__)

AHEAD = 3


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table in parts of one `day` or one `month`."""

    table: str
    part: str

    def start(self, moment: datetime) -> datetime:
        """Return when the part that holds this moment begins."""
        day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day.replace(day=1) if self.part == "month" else day

    def following(self, start: datetime) -> datetime:
        """Return when the next part begins."""
        return (start + timedelta(days=32)).replace(day=1) if self.part == "month" else start + timedelta(days=1)

    def name(self, start: datetime) -> str:
        """Return the name of the part."""
        return f"{self.table}_{start:%Y%m%d}"


_PARTS = sa.text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(:table)
""")
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('partitions'))")
TABLES = (Partitioned("inbound_events", "day"), Partitioned("status_events", "month"))


def ensure(session: Session, moment: datetime) -> None:
    """Create the parts of the present and the next few days or months. Safe to run twice and at once."""
    session.execute(_LOCK)
    for table in TABLES:
        start = table.start(moment)
        for _ in range(AHEAD + 1):
            following = table.following(start)
            _create(session, table, start, following)
            start = following


def _create(session: Session, table: Partitioned, start: datetime, end: datetime) -> None:
    """Create a part, unless rows of its time have come already: Postgres would refuse it, and they are kept apart."""
    first, last = id_floor(start), id_floor(end)
    stray = sa.text(f"SELECT EXISTS (SELECT FROM {table.table}_default WHERE id >= :first AND id < :last)")  # noqa: S608
    if session.scalar(stray, {"first": first, "last": last}):
        log.warning("partitions.rows_outside", table=table.table, part=table.name(start))
        return
    session.execute(
        sa.text(
            f"CREATE TABLE IF NOT EXISTS {table.name(start)} PARTITION OF {table.table} "
            f"FOR VALUES FROM ('{first}') TO ('{last}')"
        )
    )


def older(session: Session, table: str, moment: datetime) -> list[str]:
    """Return the names of the parts of a table that end before a moment."""
    wanted = next(t for t in TABLES if t.table == table)
    found = []
    for name in sorted(session.scalars(_PARTS, {"table": table})):
        suffix = name.removeprefix(f"{table}_")
        if not suffix.isdigit():
            continue
        start = datetime.strptime(suffix, "%Y%m%d").replace(tzinfo=UTC)
        if wanted.following(start) <= moment:
            found.append(name)
    return found


def drop_older(session: Session, table: str, moment: datetime) -> list[str]:
    """Drop the parts of a table that end before a moment, and return their names."""
    session.execute(_LOCK)
    dropped = older(session, table, moment)
    for name in dropped:
        session.execute(sa.text(f"DROP TABLE {name}"))
    if dropped:
        log.info("partitions.dropped", table=table, parts=dropped)
    return dropped
