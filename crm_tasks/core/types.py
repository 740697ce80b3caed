"""Column types and defaults that every table shares."""

import os
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


def new_id() -> uuid.UUID:
    """Return a UUIDv7 (RFC 9562): unique, and sorted by the time it was made."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF000 << 64) | 0x7000 << 64
    value = value & ~(0xC000 << 48) | 0x8000 << 48
    return uuid.UUID(int=value)


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
