"""The pump of a campaign: for two seconds it draws, sends and writes down, all at once; then its successor goes on.

That it ends so soon is what is fair: the next pump of this campaign stands behind everybody else's. Transactions are
short, none is open while the provider is asked, and nothing grows with the audience.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from queue import Empty, SimpleQueue

from sqlalchemy.orm import Session

from crm_tasks.campaigns.service import drawing, outcomes
from crm_tasks.campaigns.service.drawing import AT_ONCE, Drawn
from crm_tasks.core import db, pace
from crm_tasks.core.jobs.claim import Claim
from crm_tasks.core.log import get_logger
from crm_tasks.core.task import advanced, check, until_stored
from crm_tasks.messages.service import attachments, leaving, pacing, results
from crm_tasks.messages.service.pacing import Start
from crm_tasks.messages.service.results import Answered
from crm_tasks.messages.service.sending import Order
from crm_tasks.providers import http, loop
from crm_tasks.providers.provider import Result, Unknown

log = get_logger(__name__)

# Seconds that one pump draws; how many it has under way at most; how long results gather.
DRAWS, UNDER_WAY, GATHER = 2.0, 400, 0.05
# Threads for providers that are not asked on the loop.
_THREADS = 20

Ended = tuple[Order, Result | None]


class Pump:
    """One pump at work."""

    def __init__(self, campaign_id: uuid.UUID, lane: int, after: int, claim: Claim) -> None:
        self._campaign_id, self._lane, self._claim = campaign_id, lane, claim
        self._after = after
        self._later: dict[uuid.UUID, Start] = {}
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._under_way = 0
        # What has been ordered and whose answer is not kept: at the end, only what could not be.
        self.unkept: set[uuid.UUID] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._wait: timedelta | None = None
        self._over = False
        self._most = AT_ONCE

    def run(self) -> tuple[int, timedelta | None, bool]:
        """Send for two seconds; returns from where to go on, how long to stay away, and whether nobody is left."""
        db.retrying(outcomes.left_behind, self._claim)
        end = time.monotonic() + DRAWS
        try:
            while time.monotonic() < end and not self._over and self._wait is None:
                check()
                if not self._claim.holds_for(http.longest() + DRAWS):
                    break
                self._step(end)
        finally:
            while self._under_way:
                self._write(wait=GATHER)
            for start in self._later.values():
                pace.give_back(start.slot)
            if self._threads is not None:
                self._threads.shutdown(wait=False)
        return self._after, self._wait, self._over

    def _step(self, end: float) -> None:
        """Draw and send the next, or let what is under way come back."""
        if self._under_way >= UNDER_WAY:
            self._write(wait=GATHER)
            return
        near = min((start.left for start in self._later.values()), default=0.0)
        if near > pacing.MARK_AHEAD:
            self._write(wait=min(near - pacing.MARK_AHEAD / 2, GATHER))
            return
        drawn = db.retrying(self._draw)
        self._heed(drawn)
        if drawn.orders:
            self._send(drawn.orders)
        if self._wait is not None and self._wait <= timedelta(seconds=0.5):
            # Not worth a successor: who is told to come back so soon is waited for here.
            until = time.monotonic() + self._wait.total_seconds()
            self._wait = None
            while (left := min(until, end) - time.monotonic()) > 0:
                self._write(wait=min(left, GATHER))
        else:
            self._write(wait=0.0)

    def _draw(self, session: Session) -> Drawn:
        return drawing.draw(
            session, self._campaign_id, self._claim, after=self._after, most=self._most, later=self._later
        )

    def _heed(self, drawn: Drawn) -> None:
        if drawn.uploads is not None:
            attachments.bring(drawn.uploads)
            return
        self._after, self._later, self._over = drawn.after, drawn.later, drawn.over
        self._wait = drawn.wait if not drawn.later else None
        if drawn.soon is not None:
            self._most = drawn.soon
        elif not drawn.orders:
            # Nobody of these may be written to: on to those who may.
            self._most = min(AT_ONCE, 2 * self._most)

    # --- sending ---

    def _send(self, orders: Sequence[Order]) -> None:
        self._under_way += len(orders)
        self.unkept.update(uuid.UUID(order.message.id) for order in orders)
        loop.begin([self._on_loop(order) for order in orders if order.provider.send_async is not None])
        for order in orders:
            if order.provider.send_async is None:
                self._threads = self._threads or ThreadPoolExecutor(_THREADS, thread_name_prefix="pump")
                self._threads.submit(self._in_thread, order)

    async def _on_loop(self, order: Order) -> None:
        try:
            result = await leaving.leave_on_loop(order, self._may_leave)
        except Exception as error:  # whatever it is: it may have left
            log.exception("pump.send_failed", error=type(error).__name__)
            result = Unknown(type(error).__name__)
        self._ended.put((order, result))

    def _in_thread(self, order: Order) -> None:
        try:
            result = leaving.leave(order, self._may_leave)
        except Exception as error:  # whatever it is: it may have left
            log.exception("pump.send_failed", error=type(error).__name__)
            result = Unknown(type(error).__name__)
        self._ended.put((order, result))

    def _may_leave(self) -> bool:
        """Say whether the lease outlasts a request: of a process that stood still, another claim has taken over."""
        return self._claim.holds_for(http.longest())

    # --- writing ---

    def _write(self, *, wait: float) -> None:
        """Write down what has come back, after waiting for some of it."""
        ended = self._gathered(wait)
        if not ended:
            return
        answers = [Answered(order, self._claim, result) for order, result in ended if result is not None]
        lost = [uuid.UUID(order.message.id) for order, result in ended if result is None]
        self._under_way -= len(ended)
        if answers:
            self._keep(answers)
            advanced()
            results.heard(answers)
        if lost:
            self._stored(lambda session: outcomes.again(session, self._campaign_id, self._claim, lost))
            self.unkept.difference_update(lost)

    def _keep(self, answers: list[Answered]) -> None:
        """Keep answers together. Is there one that cannot be kept, the others are, and it stays as one nobody knows."""
        try:
            self._stored(lambda session: outcomes.keep(session, self._campaign_id, answers))
        except Exception as error:
            if len(answers) == 1:
                log.exception("pump.answer_not_kept", error=type(error).__name__)
                return
            for each in answers:
                self._keep([each])
            return
        self.unkept.difference_update(each.message_id for each in answers)

    def _stored(self, write: Callable[[Session], None]) -> None:
        until_stored(partial(db.retrying, write))

    def _gathered(self, wait: float) -> list[Ended]:
        found: list[Ended] = []
        if wait:
            time.sleep(wait)
        while len(found) < 2 * AT_ONCE:
            try:
                found.append(self._ended.get_nowait())
            except Empty:
                break
        return found
