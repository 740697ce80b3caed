"""Pace: at most so many starts per unit of time over all workers, evenly spaced, by Redis's clock.

A slot is reserved at most a second ahead, and waited for in place: the scheduler brings half a second's jobs at once,
and each finds its own. Who comes for more is told a moment behind all others (the virtual tail, which reserves
nothing), so that waiting jobs neither poll nor come back all at once.
"""

import time
from datetime import timedelta
from typing import NamedTuple

import redis

from crm_tasks.config import settings
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.core.redis import manager

log = get_logger(__name__)

AHEAD = timedelta(seconds=1)
# KEYS: when the next slot is free, and the virtual tail. ARGV: microseconds between slots, and how far ahead one may
# be reserved. Returns whether a slot was, and how long to wait. Without a key nobody knows what was reserved before
# (FLUSHALL): the first slot is where that must be over, and no burst is granted.
_SLOT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, ahead = tonumber(ARGV[1]), tonumber(ARGV[2])
local free = math.max(tonumber(redis.call('GET', KEYS[1]) or now + ahead), now)
if free <= now + ahead then
  local life = math.ceil((free + step - now) / 1000) + 86400000
  redis.call('SET', KEYS[1], string.format('%.0f', free + step), 'PX', life)
  return {1, free - now}
end
local tail = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), free)
redis.call('SET', KEYS[2], string.format('%.0f', tail + step), 'PX', math.ceil((tail + step - now) / 1000) + 1000)
return {0, tail - now}
"""


class Slot(NamedTuple):
    """An answer: the slot that was reserved and when it is, or when to ask again."""

    reserved: bool
    wait: timedelta


def wait_for_queue(queue: str) -> timedelta:
    """Wait for the turn of a job of this queue, at most a second; return how long it has to stay away instead."""
    rate = settings().queues[queue].rate
    if rate is None:
        return timedelta(0)
    count, period = rate
    reserved, wait = slot(f"queue:{queue}", period / count)
    if not reserved:
        return wait
    time.sleep(wait.total_seconds())
    return timedelta(0)


def slot(bucket: str, step: timedelta) -> Slot:
    """Reserve a slot of a bucket within the next second, one per `step`, or say when to ask again.

    Without Redis nothing is granted: work waits rather than break a limit.
    """
    key = f"{settings().key_prefix}pace:{bucket}"
    try:
        script = manager().client().register_script(_SLOT)
        reserved, wait = script(keys=[key, f"{key}:tail"], args=[_microseconds(step), _microseconds(AHEAD)])
    except redis.RedisError as error:
        if rarely("pace.away"):
            log.warning("pace.away", error=type(error).__name__)
        return Slot(False, AHEAD)
    return Slot(bool(reserved), timedelta(microseconds=int(wait)))


def _microseconds(span: timedelta) -> int:
    return round(span.total_seconds() * 1_000_000)
