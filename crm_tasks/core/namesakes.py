"""A worker that was killed and started again: what it ran comes back at once, and not when its lease is over.

Nothing is decided here but that a lease is over; the scheduler takes the jobs back as always.
"""

import os

from crm_tasks.config import settings
from crm_tasks.core import db
from crm_tasks.core.log import get_logger
from crm_tasks.core.pulse import machine

log = get_logger(__name__)

_NAMESAKES = """
    SELECT name, pid FROM processes
    WHERE machine = %(machine)s AND starts_with(name, %(node)s || ':') AND name <> %(me)s
      AND seen_at > now() - 2 * %(lease)s::interval
"""
_FORSAKE = """
    UPDATE jobs SET lease_until = now()
    WHERE id IN (SELECT id FROM jobs WHERE state = 'running' AND worker = ANY(%s) AND lease_until > now()
                 ORDER BY id FOR UPDATE)
"""


def forsake(node: str, me: str) -> int:
    """End the leases of earlier processes of this node on this machine that are no more; return how many.

    A pid that lives, whosesoever, leaves all to the lease; so does a container's end, whose pids went with it.
    """
    values = {"machine": machine(), "node": node, "me": me, "lease": settings().lease}
    with db.autocommit() as connection:
        gone = [name for name, pid in connection.execute(_NAMESAKES, values) if not _lives(pid)]
        forsaken = connection.execute(_FORSAKE, (gone,)).rowcount if gone else 0
    if forsaken:
        log.warning("lease.forsaken", node=node, jobs=forsaken)
    return forsaken


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return False  # it was another's
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
