"""Threads that ask together: each is answered once and with its own, whatever becomes of the others."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from crm_tasks.core.combine import Combiner
from tests.harness import eventually


class Asked:
    """Doubles numbers; the first call waits until it is let go, so that others gather."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[list[int]] = []
        self.let_go = threading.Event()
        self._error = error

    def __call__(self, items: Sequence[int]) -> list[int | BaseException]:
        self.calls.append(list(items))
        if len(self.calls) == 1:
            assert self.let_go.wait(30)
        if self._error is not None and (7 in items):
            raise self._error
        return [KeyError(item) if item < 0 else item * 2 for item in items]


def gathered(asked: Asked, items: Sequence[int], *, at_most: int = 100) -> list[int | BaseException]:
    """Ask for 0, and for these while that is being answered; return what each of them came to."""
    combiner: Combiner[int, int] = Combiner(asked, name="test", at_most=at_most)

    def ask(item: int) -> int | BaseException:
        try:
            return combiner.ask(item)
        except Exception as error:  # noqa: BLE001  what it came to
            return error

    with ThreadPoolExecutor(len(items) + 1) as pool:
        first = pool.submit(ask, 0)
        eventually(lambda: len(asked.calls) == 1, "the first question")
        others = [pool.submit(ask, item) for item in items]
        eventually(lambda: len(combiner._waiting) == len(items), "all to wait")
        asked.let_go.set()
        assert first.result(30) == 0
        return [other.result(30) for other in others]


def test_who_is_alone_waits_for_nobody() -> None:
    asked = Asked()
    asked.let_go.set()
    assert Combiner(asked, name="test", at_most=10).ask(4) == 8
    assert asked.calls == [[4]]


def test_who_comes_meanwhile_is_asked_for_at_once() -> None:
    asked = Asked()
    assert gathered(asked, range(1, 21)) == [item * 2 for item in range(1, 21)]
    assert [sorted(call) for call in asked.calls] == [[0], list(range(1, 21))]


def test_no_question_is_larger_than_it_may_be() -> None:
    asked = Asked()
    assert gathered(asked, range(1, 11), at_most=4) == [item * 2 for item in range(1, 11)]
    assert [len(call) for call in asked.calls] == [1, 4, 4, 2]


def test_an_exception_among_the_answers_is_raised_for_who_asked() -> None:
    answers = gathered(Asked(), [1, -2, 3])
    assert (answers[0], answers[2]) == (2, 6)
    assert isinstance(answers[1], KeyError)


def test_one_that_cannot_be_answered_harms_no_other() -> None:
    asked = Asked(ValueError("seven"))
    answers = gathered(asked, [5, 6, 7, 8])
    assert (answers[0], answers[1], answers[3]) == (10, 12, 16)
    assert isinstance(answers[2], ValueError)
    assert len(asked.calls) == 2 + 4  # the first, all together, then each alone


def test_without_postgres_all_hear_of_it_and_nobody_is_asked_for_alone() -> None:
    asked = Asked(OperationalError("x", {}, psycopg.OperationalError("away")))
    answers = gathered(asked, [5, 6, 7, 8])
    assert all(isinstance(answer, OperationalError) for answer in answers)
    assert len(asked.calls) == 2


@pytest.mark.parametrize("threads", [2, 16])
def test_under_load_each_gets_its_own_answer_once(threads: int) -> None:
    answered: list[int] = []

    def together(items: Sequence[int]) -> list[int]:
        answered.extend(items)
        return [item * 2 for item in items]

    combiner: Combiner[int, int] = Combiner(together, name="test", at_most=5)
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(combiner.ask, range(2_000))) == [item * 2 for item in range(2_000)]
    assert sorted(answered) == list(range(2_000))
