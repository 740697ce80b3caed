"""A message waits for its slot and leaves. What is late at the very moment of leaving has lost its slot."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from crm_tasks.core import pace
from crm_tasks.messages.service.pacing import Start
from crm_tasks.messages.service.sending import Order
from crm_tasks.providers import loop
from crm_tasks.providers.provider import Result

# So many slots may a message lose before it goes back to the ledger.
_TRIES = 20


def leave(order: Order, may_leave: Callable[[], bool]) -> Result | None:
    """Send at the slot, and wait for the answer; None if nothing left, as there was no slot or no leave.

    Args:
        may_leave: asked last, when the slot has come.
    """
    if order.provider.send_async is not None:
        return loop.submit(leave_on_loop(order, may_leave)).result()
    start = order.start
    for _ in range(_TRIES):
        # Even sleep(0) lets all other threads go first: a slot that is now is used now.
        if (left := start.left) > 0:
            time.sleep(left)
        if start.in_time():
            return order.provider.send(order.sender, order.message) if may_leave() else None
        if (another := start.another()) is None:
            return None
        start = another
    pace.give_back(start.slot)
    return None


async def leave_on_loop(order: Order, may_leave: Callable[[], bool]) -> Result | None:
    """Do the same on the loop, whose timers are less late than threads, of which each has to wait for all others."""
    assert order.provider.send_async is not None
    start = order.start
    for _ in range(_TRIES):
        if (left := start.left) > 0:
            await asyncio.sleep(left)
        if start.in_time():
            if not may_leave():
                return None
            with suppress(loop.TooLate), loop.only_if(partial(_still, start, may_leave)):
                try:
                    return await order.provider.send_async(order.sender, order.message)
                finally:
                    pace.arrived(start.slot)
        if (another := await asyncio.to_thread(start.another)) is None:
            return None
        start = another
    await asyncio.to_thread(pace.give_back, start.slot)
    return None


def _still(start: Start, may_leave: Callable[[], bool]) -> bool:
    """Say whether what may leave still may once there is a connection; if so, it leaves."""
    if not may_leave() or not (start.far_apart or start.in_time()):
        return False
    pace.left(start.slot)
    return True
