"""Pace: at most so many starts per unit of time over all processes, in several buckets at once, by Redis's clock.

A start is reserved at most a second ahead and waited for in place: the scheduler brings half a second's jobs at once,
and each finds its own. Who comes for more is told when to come back, behind all others of its class (the virtual tail,
which reserves nothing), so that waiting jobs neither poll nor come back all at once.

`buckets` what can be limited · `governor` the way in · `shared` Redis's account, one Lua call · `arrivals` when starts
have arrived · `alone` a process's part while Redis is away · `learned` rates that providers taught us.
"""

from crm_tasks.core.pace.arrivals import arrived, left
from crm_tasks.core.pace.buckets import AHEAD, HIGH, LATE, Bucket, Members, Slot, Window, Wish
from crm_tasks.core.pace.governor import (
    ahead,
    begin,
    forget_members,
    give_back,
    reserve,
    reserve_many,
    slow_down,
    wait_for,
    wait_for_job,
)

__all__ = [
    "AHEAD",
    "HIGH",
    "LATE",
    "Bucket",
    "Members",
    "Slot",
    "Window",
    "Wish",
    "ahead",
    "arrived",
    "begin",
    "forget_members",
    "give_back",
    "left",
    "reserve",
    "reserve_many",
    "slow_down",
    "wait_for",
    "wait_for_job",
]
