"""A process that takes slots as told on its standard input, and says which it got. `python -m tests.core.pacer`

One line in, one line out, as JSON. A plan of calls: `{"calls": [[delay, limits, priority, member, give back], …]}`;
requests that are late, and are or are not told of, with their arrivals for an answer:
`{"requests": [[delay, priority, late, travel, told], …], "window": …}`; or jobs that arrive evenly and come back when
they are told to, at the next tick of a scheduler:
`{"seconds": …, "jobs": …, "every": …, "tick": …, "limits": […], "priority": …}`.
"""

import asyncio
import heapq
import itertools
import math
import sys
import threading
import time
from datetime import timedelta
from typing import Any

import orjson

from crm_tasks.core import metrics, pace, pulse
from crm_tasks.core.pace import Bucket, Members, Window
from crm_tasks.core.pace.buckets import Limit


def limit_of(spec: dict[str, Any]) -> Limit:
    """Return a bucket; one with a limit counts members, one with a count arrivals."""
    if "count" in spec:
        return Window(**spec)
    if "limit" in spec:
        return Members(spec["name"], spec["limit"], list, timedelta(seconds=spec["window"]))
    return Bucket(**spec)


def follow(calls: list[Any]) -> dict[str, Any]:
    """Make calls at their moments; return of each the start, unless there was none or it was given back."""
    starts = []
    for delay, specs, priority, member, give_back in calls:
        time.sleep(delay)
        slot = pace.reserve([limit_of(spec) for spec in specs], priority=priority, member=member)
        if slot.reserved and give_back:
            pace.give_back(slot)
        starts.append(None if give_back else slot.at)
    return {"starts": starts}


def send(requests: list[Any], window: dict[str, Any]) -> dict[str, Any]:
    """Make requests one after the other, all under way at once; return when they arrived."""
    limit, arrivals = limit_of(window), []

    async def one(slot: pace.Slot, due: float, late: float, travel: float, told: bool) -> None:
        await asyncio.sleep(due - time.monotonic() + late)
        if time.monotonic() - due > pace.LATE.total_seconds():
            await asyncio.to_thread(pace.give_back, slot)
            return
        arrivals.append(time.time() + travel)
        if told:
            pace.left(slot)
            await asyncio.sleep(travel)
            pace.arrived(slot)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for delay, priority, *rest in requests:
                await asyncio.sleep(delay)
                slot = pace.reserve([limit], priority=priority)
                if slot.reserved:
                    group.create_task(one(slot, time.monotonic() + slot.wait.total_seconds(), *rest))

    asyncio.run(all_of_them())
    return {"starts": arrivals}


def work(seconds: float, jobs: int, every: float, tick: float, limits: list[Any], priority: int) -> dict[str, Any]:
    """Let a job arrive `every` so often; return the starts, and how often the jobs that started were sent away."""
    made = [limit_of(spec) for spec in limits]
    began = time.monotonic()
    arrivals = [(began + every * n, n, 0) for n in range(jobs)]
    waiting, numbers = list(arrivals), itertools.count(len(arrivals))
    starts, away = [], []
    while waiting and (now := time.monotonic()) < began + seconds:
        due, _, snoozes = waiting[0]
        if due > now:
            time.sleep(min(due - now, 0.005))
            continue
        heapq.heappop(waiting)
        slot = pace.reserve(made, priority=priority)
        if slot.at is not None:
            starts.append(slot.at)
            away.append(snoozes)
            threading.Timer(slot.wait.total_seconds(), pace.arrived, [slot]).start()
        else:
            back = time.monotonic() + slot.wait.total_seconds()
            back = math.ceil(back / tick) * tick if tick else back
            heapq.heappush(waiting, (back, next(numbers), snoozes + 1))
    return {"starts": starts, "away": away}


def main() -> None:
    """Do what each line says."""
    if "worker" in sys.argv:
        pulse.start(pulse.Identity(kind="worker", name="pacer", pool="threads"))
    for line in sys.stdin:
        order = orjson.loads(line)
        alone = metrics.snapshot().get("pace_alone", 0)
        answer = {"calls": follow, "requests": send, "seconds": work}[next(iter(order))](**order)
        answer["alone"] = metrics.snapshot().get("pace_alone", 0) - alone
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
        sys.stdout.flush()
    pulse.stop()


if __name__ == "__main__":
    main()
