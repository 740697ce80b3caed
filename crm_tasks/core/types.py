"""Column types and defaults that every table shares."""

import os
import random
import threading
import time
import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import mapped_column
from sqlalchemy.types import TypeDecorator

from crm_tasks.core.db import now

_last = 0
_lock = threading.Lock()
# Seeded by the system. Ids are no secrets, and asking the system for each gives the interpreter to another thread.
_random = random.Random()


def new_id() -> uuid.UUID:
    """Return a UUIDv7 (RFC 9562, method 3): unique, and sorted by when it was made, also within a millisecond.

    The twelve bits after the milliseconds are 1/4096ths of one. What this process makes never goes backwards, so
    jobs are in the order in which they were enqueued, and rows in that of one request.
    """
    global _last
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    with _lock:
        _last = moment = max(_last + 1, milliseconds << 12 | (rest << 12) // 1_000_000)
    made = moment >> 12 << 80 | 0x7 << 76 | (moment & 0xFFF) << 64
    return uuid.UUID(int=made | 0x2 << 62 | _random.getrandbits(62))


def _after_fork() -> None:
    """A lock that another thread held at the fork would stay locked for ever in the child; ids would be the same."""
    global _lock, _random
    _lock, _random = threading.Lock(), random.Random()


os.register_at_fork(after_in_child=_after_fork)


def id_floor(moment: datetime) -> uuid.UUID:
    """Return the smallest id that `new_id` can have made at this moment: every older row has a smaller one."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80 | 0x7000 << 64 | 0x8000 << 48)


Id = Annotated[uuid.UUID, mapped_column(primary_key=True, default=new_id)]
Moment = Annotated[datetime, mapped_column(sa.DateTime(timezone=True))]
CreatedAt = Annotated[datetime, mapped_column(sa.DateTime(timezone=True), server_default=now())]
Json = Annotated[dict[str, Any], mapped_column(JSONB, server_default=sa.text("'{}'"))]
Texts = Annotated[list[str], mapped_column(sa.ARRAY(sa.Text), server_default=sa.text("'{}'"))]


class Choice(TypeDecorator[Any]):
    """A text column whose values are the members of a StrEnum."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, choices: type[StrEnum]) -> None:
        super().__init__()
        self.choices = choices

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """Return the member."""
        return None if value is None else self.choices(value)


def state_check(column: str, states: Any) -> sa.CheckConstraint:
    """Return the constraint that a text column holds one of the values of this enum."""
    values = ", ".join(f"'{state}'" for state in states)
    return sa.CheckConstraint(f"{column} IN ({values})", name=column)
