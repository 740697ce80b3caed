"""Group commit: many threads' rows in one transaction. What costs in Postgres is the commit, not the row.

One thread commits what waits while the next batch gathers. Under load it waits some milliseconds for as many as
came last time, because small batches cost the time that large ones save; a lone caller waits for nothing.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from crm_tasks.core import db
from crm_tasks.core.errors import Unavailable
from crm_tasks.core.log import get_logger

log = get_logger(__name__)
GATHER = 0.002
T = TypeVar("T")


class _Waiting(Generic[T]):
    __slots__ = ("done", "error", "given_up", "item")

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = threading.Lock()  # held until it is: an Event is three of these
        self.done.acquire()
        self.error: BaseException | None = None
        self.given_up = False


class GroupCommit(Generic[T]):
    """Commits items in batches with `commit`, on one thread per process, begun at first use.

    A batch that fails for a reason of its own is committed again item by item, so that one bad item harms no other.
    """

    def __init__(
        self, commit: Callable[[Sequence[T]], None], *, name: str, at_most: int, room: int, timeout: float
    ) -> None:
        self._commit = commit
        self._name, self._at_most, self._room, self._timeout = name, at_most, room, timeout
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._waiting: deque[_Waiting[T]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = 1

    def put(self, item: T) -> None:
        """Return once the item is committed.

        Raises:
            Unavailable: too many wait already, or it took too long; the item may still be committed.
        """
        waiting = _Waiting(item)
        with self._changed:
            if len(self._waiting) >= self._room:
                raise Unavailable("Too many requests wait to be stored.", code="overloaded")
            self._waiting.append(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            if len(self._waiting) >= self._wanted:
                self._changed.notify()
        if not waiting.done.acquire(timeout=self._timeout):
            waiting.given_up = True
            raise Unavailable("The database did not answer in time.", code="database_slow")
        if waiting.error is not None:
            raise waiting.error

    def _run(self) -> None:
        expected = 1
        while True:
            batch = self._gather(expected)
            expected = len(batch)
            self._store([waiting for waiting in batch if not waiting.given_up])

    def _gather(self, expected: int) -> list[_Waiting[T]]:
        with self._changed:
            self._wanted = 1
            self._changed.wait_for(lambda: self._waiting)
            self._wanted = expected
            self._changed.wait_for(lambda: len(self._waiting) >= expected, GATHER)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._at_most))]

    def _store(self, batch: list[_Waiting[T]]) -> None:
        if not batch:
            return
        try:
            self._commit([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001  whatever it is, the callers must hear of it and the thread go on
            if db.is_disconnect(error):
                error = Unavailable("The database is away; send it again.", code="database_away")
            elif len(batch) > 1:
                log.warning("groupcommit.one_by_one", name=self._name, items=len(batch), error=db.reason(error))
                for waiting in batch:
                    self._store([waiting])
                return
            for waiting in batch:
                waiting.error = error
        for waiting in batch:
            waiting.done.release()
