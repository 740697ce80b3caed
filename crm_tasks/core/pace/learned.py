"""Rates that providers taught us: a refusal for speed halves a bucket's rate, and time gives it back.

Postgres remembers them, so that neither an emptied Redis nor a restart forgets; Redis has them for every reservation.
"""

from collections.abc import Iterable

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from crm_tasks.core import db
from crm_tasks.core.db import Base
from crm_tasks.core.types import Moment

# A tenth of the configured rate comes back every 30 s (the same in reserve.lua).
STEP_BACK, STEP_SECONDS = 0.1, 30.0
LEAST = 1 / 64
# What was reserved before a halving is refused for up to a second more, and a request later: that is the same refusal.
ONE_BURST = 2.0

_NOW = f"least(1, factor + {STEP_BACK} * floor(extract(epoch FROM crm_now() - changed_at) / {STEP_SECONDS}))"
_HALVE = f"""
    INSERT INTO pace_rates (name, factor, changed_at) VALUES (%(name)s, 0.5, crm_now())
    ON CONFLICT (name) DO UPDATE SET changed_at = crm_now(), factor = greatest({LEAST}, (
        SELECT {_NOW} / 2 FROM pace_rates AS old WHERE old.name = excluded.name))
    WHERE pace_rates.changed_at <= crm_now() - make_interval(secs => {ONE_BURST})
    RETURNING factor
"""  # noqa: S608  only numbers and expressions are formatted in
_SLOWED = f"SELECT name, {_NOW} AS factor FROM pace_rates WHERE {_NOW} < 1"  # noqa: S608


class PaceRate(Base):
    """A bucket whose rate was lowered: by what factor, and when. A row stays when its rate has come back."""

    __tablename__ = "pace_rates"

    name: Mapped[str] = mapped_column(primary_key=True)
    factor: Mapped[float] = mapped_column(sa.Double)
    changed_at: Mapped[Moment]


def halve(name: str) -> float | None:
    """Halve the rate of a bucket and return what part of it is left; None if that was just done by another."""
    with db.autocommit() as connection:
        row = connection.execute(_HALVE, {"name": name}).fetchone()
    return row[0] if row else None


def factors(session: Session, names: Iterable[str]) -> dict[str, float]:
    """Return those of these buckets that are slowed now, and what part of their rate they have."""
    rows = session.execute(sa.text(f"{_SLOWED} AND name = ANY(:names)"), {"names": list(names)})
    return {row.name: row.factor for row in rows}


def slowed(connection: psycopg.Connection) -> dict[str, float]:
    """Return the buckets that are slowed now, and what part of their rate they have."""
    return dict(connection.execute(_SLOWED).fetchall())
