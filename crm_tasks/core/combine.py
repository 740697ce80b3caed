"""Many threads ask the same kind of thing at about the same time: one of them asks for all.

What costs in Postgres, and in Python, is the statement and the commit and not the row. Who finds nobody asking asks at
once, for all who wait by then; the next of those who come meanwhile does it after that. So a lone thread waits for
nothing, there is no thread and no timer for it, and under load batches are as large as the load is.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from crm_tasks.core import db
from crm_tasks.core.log import get_logger

log = get_logger(__name__)
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Waiting(Generic[Asked, Answer]):
    __slots__ = ("answer", "answered", "error", "item", "turn")

    def __init__(self, item: Asked) -> None:
        self.item = item
        self.turn = threading.Lock()  # held until it is answered, or its thread is to ask for others
        self.turn.acquire()
        self.answered = False
        self.answer: Answer
        self.error: BaseException | None = None


class Combiner(Generic[Asked, Answer]):
    """Asks for many at once with `together`, which answers in the order of the items.

    An exception among the answers is raised for who asked for that one. If `together` itself fails, each is asked for
    alone, so that one that cannot be answered harms no other; if Postgres is away, all hear of it.
    """

    def __init__(
        self, together: Callable[[Sequence[Asked]], Sequence[Answer | BaseException]], *, name: str, at_most: int
    ) -> None:
        self._together, self._name, self._at_most = together, name, at_most
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting[Asked, Answer]] = deque()
        self._led = False

    def ask(self, item: Asked) -> Answer:
        """Return the answer to this item, or raise what it came to."""
        mine: _Waiting[Asked, Answer] = _Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            leads, self._led = not self._led, True
        if not leads:
            mine.turn.acquire()
        if not mine.answered:
            self._lead()
        if mine.error is not None:
            raise mine.error
        return mine.answer

    def _lead(self) -> None:
        """Ask for who waits, this thread first, and hand on to the next."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._at_most))]
        try:
            self._answer(batch)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._led = following is not None
            for waiting in batch[1:]:
                waiting.turn.release()
            if following is not None:
                following.turn.release()

    def _answer(self, batch: Sequence[_Waiting[Asked, Answer]]) -> None:
        try:
            answers = self._together([waiting.item for waiting in batch])
        except BaseException as error:  # noqa: BLE001  it belongs to those who asked
            if len(batch) > 1 and isinstance(error, Exception) and not db.is_disconnect(error):
                log.warning("combine.one_by_one", name=self._name, items=len(batch), error=db.reason(error))
                for waiting in batch:
                    self._answer([waiting])
                return
            for waiting in batch:
                waiting.error, waiting.answered = error, True
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, BaseException):
                waiting.error = answer
            else:
                waiting.answer = answer
            waiting.answered = True
