"""What is asked of Postgres, and how it would find that in tables that are too large to be read."""

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from crm_tasks.core import db


def asked(work: Callable[[], Any]) -> list[tuple[str, Any]]:
    """Return every statement that some work costs, with its values."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        seen.append((statement, values))

    sa.event.listen(db.engine(), "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(db.engine(), "before_cursor_execute", note)
    return seen


def plan(statement: str, values: Any, *without: str) -> str:
    """Return the plan of a statement where no table is read from one end to the other, nor what else is named done."""
    with db.transaction() as session:
        for each in ("seqscan", *without):
            session.execute(sa.text(f"SET LOCAL enable_{each} = off"))
        lines = session.connection().exec_driver_sql(f"EXPLAIN {statement}", values)
        return "\n".join(line for (line,) in lines)


def pages_read(statement: str, values: Any) -> int:
    """Run a query and return how many pages of tables and indexes it looked at."""
    with db.transaction() as session:
        lines = session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", values)
        top = next(line for (line,) in lines if "Buffers: shared" in line)
        return sum(int(each) for each in re.findall(r"(?:hit|read)=(\d+)", top))
