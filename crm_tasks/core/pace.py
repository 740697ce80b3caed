"""Pace: at most so many starts per unit of time over all workers, evenly spaced, by Redis's clock.

A slot is reserved only when it is now. Who comes too early is told a moment of its own behind the others (the virtual
tail, which reserves nothing), so that waiting jobs neither poll nor come back all at once.
"""

from datetime import timedelta

import redis

from crm_tasks.config import settings
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.redis import manager

log = get_logger(__name__)

# KEYS: when the next slot is free, and the virtual tail. ARGV: microseconds between slots. Returns how many to wait.
_SLOT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step = tonumber(ARGV[1])
local free = tonumber(redis.call('GET', KEYS[1]) or '0')
local life = math.ceil(step / 1000) + 60000
if free <= now then
  redis.call('SET', KEYS[1], string.format('%.0f', now + step), 'PX', life)
  return 0
end
local tail = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), free)
redis.call('SET', KEYS[2], string.format('%.0f', tail + step), 'PX', math.ceil((tail + step - now) / 1000) + 1000)
return tail - now
"""


def wait_for_queue(queue: str) -> timedelta:
    """Return how long a job of this queue has to wait for its turn; zero is a slot, taken."""
    rate = settings().queues[queue].rate
    if rate is None:
        return timedelta(0)
    count, period = rate
    return slot(f"queue:{queue}", period / count)


def slot(bucket: str, step: timedelta) -> timedelta:
    """Reserve the present slot of a bucket, one per `step`, or return how long to wait before asking again.

    Without Redis nothing is granted: work waits rather than break a limit.
    """
    key = f"{settings().key_prefix}pace:{bucket}"
    try:
        script = manager().client().register_script(_SLOT)
        waited = script(keys=[key, f"{key}:tail"], args=[round(step.total_seconds() * 1_000_000)])
    except redis.RedisError as error:
        if rarely("pace.away"):
            log.warning("pace.away", error=type(error).__name__)
        return timedelta(seconds=1)
    return timedelta(microseconds=int(waited))
