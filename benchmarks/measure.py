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


def listener(port: int) -> int:
    """Return the process that listens on a port of this machine."""
    found = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
    return next(each.pid for each in found if each.laddr.port == port and each.pid)


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


def statements() -> dict[str, tuple[float, int]]:
    """Return what Postgres has spent so far, by the beginning of each statement: milliseconds and calls."""
    import sqlalchemy as sa

    from crm_tasks.core import db

    query = sa.text("""
        SELECT regexp_replace(left(query, 90), '\\s+', ' ', 'g') AS beginning,
               sum(total_exec_time) AS ms, sum(calls) AS calls
        FROM pg_stat_statements GROUP BY 1
    """)
    with db.transaction() as session:
        return {row.beginning: (float(row.ms), int(row.calls)) for row in session.execute(query)}


def spent(before: dict[str, tuple[float, int]], top: int = 5) -> list[str]:
    """Return the statements that took most of Postgres's time since `before`."""
    since = {
        statement: (ms - before.get(statement, (0.0, 0))[0], calls - before.get(statement, (0.0, 0))[1])
        for statement, (ms, calls) in statements().items()
    }
    most = sorted(since.items(), key=lambda item: item[1], reverse=True)[:top]
    return [f"{ms:>7,.0f} ms {calls:>7,} calls  {statement}" for statement, (ms, calls) in most]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
