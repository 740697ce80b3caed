"""Looking at processes and at Postgres from outside."""

import os
import time
from collections.abc import Callable
from typing import Any

import psutil


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Return the CPU that a process and its living descendants have used, in seconds."""
    total = 0.0
    for process in family(pid):
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system
    return total


def pss_mb(process: psutil.Process) -> float:
    """Return its proportional share of memory in MB of 2^20 bytes; 0 if it is gone."""
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def connections(process: psutil.Process, port: int) -> int:
    """Return how many sockets of a process are connected to a port."""
    try:
        return sum(1 for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port)
    except psutil.Error:
        return 0


def until(condition: Callable[[], Any], timeout: float, every: float = 0.01) -> float:
    """Poll until a condition holds; return the seconds that took.

    Raises:
        TimeoutError: it never did.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout:
            raise TimeoutError(f"not within {timeout} s: {condition}")
        time.sleep(every)
    return time.monotonic() - started


def statements(top: int = 6) -> list[str]:
    """Return where Postgres spent its time since the last `reset`: ms per call, calls, statement."""
    import sqlalchemy as sa

    from crm_tasks.core import db

    query = sa.text("""
        SELECT round(total_exec_time::numeric) AS ms, calls, rows,
               regexp_replace(left(query, 90), '\\s+', ' ', 'g') AS query
        FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT :top
    """)
    with db.transaction() as session:
        return [
            f"{row.ms:>7} ms {row.calls:>7} calls {row.rows:>7} rows  {row.query}"
            for row in session.execute(query, {"top": top})
        ]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
