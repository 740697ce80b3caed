"""A message waits for its slot and leaves. What is late at the very moment of leaving has lost its slot."""

import asyncio
from collections.abc import Callable

from crm_tasks.messages.service.pacing import LATE
from crm_tasks.messages.service.sending import Order
from crm_tasks.providers import loop
from crm_tasks.providers.provider import Result


def leave(order: Order, may_leave: Callable[[], bool], *, late: float = LATE) -> Result | None:
    """Send at the slot, and wait for the answer; None if nothing left, as there was no slot or no leave.

    Args:
        may_leave: asked last, when the slot has come.
        late: for how many seconds the slot may be over.
    """
    if order.provider.send_async is not None:
        return loop.submit(leave_on_loop(order, may_leave, late=late)).result()
    if not (order.start.wait(late=late) and may_leave()):
        return None
    return order.provider.send(order.sender, order.message)


async def leave_on_loop(order: Order, may_leave: Callable[[], bool], *, late: float = LATE) -> Result | None:
    """Do the same on the loop, whose timers are less late than threads, of which each has to wait for all others."""
    assert order.provider.send_async is not None
    if (left := order.start.left) > 0:
        await asyncio.sleep(left)
    ready = order.start.in_time(late) or await asyncio.to_thread(order.start.another, late=late)
    if not (ready and may_leave()):
        return None
    return await order.provider.send_async(order.sender, order.message)
