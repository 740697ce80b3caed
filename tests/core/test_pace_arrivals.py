"""When a request has arrived: its answer says so; of a provider that is far away, that it has left."""

from typing import Any

import pytest

from crm_tasks.core.pace import arrivals
from crm_tasks.core.pace.arrivals import _Arrivals
from crm_tasks.core.pace.buckets import Entry, Slot


class Clock:
    """A clock that a test moves; and what was told, by the number of a start."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.told: dict[str, float] = {}
        self._numbers = iter(range(1_000))

    def monotonic(self) -> float:
        return self.now

    def request(self, made: _Arrivals, took: float) -> str:
        """Let a request leave and be answered so long after; return its number."""
        number = str(next(self._numbers))
        slot = Slot(True, None, counted=(Entry("w", "low", number),))  # type: ignore[arg-type]
        made.left(slot)
        self.now += took
        made.arrived(slot)
        return number


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(arrivals, "time", made)

    def tell(_self: Any, entry: Entry, moment: float) -> None:
        made.told[entry.number] = min(moment, made.told.get(entry.number, moment))

    monkeypatch.setattr(_Arrivals, "_tell", tell)
    return made


def by(clock: Clock, made: _Arrivals, took: float) -> float:
    """Return by when, after it left, a request is said to have arrived."""
    left = clock.now
    return round(clock.told[clock.request(made, took)] - left, 3)


def test_a_near_provider_says_it_by_its_answer_also_after_a_moment_in_which_all_stood_still(clock: Clock) -> None:
    made = _Arrivals()
    assert by(clock, made, 0.01) == 0.01
    assert [by(clock, made, 0.2) for _ in range(20)] == [0.2] * 20
    assert by(clock, made, 0.01) == 0.01


def test_of_a_provider_that_is_far_away_it_is_taken_for_granted_until_one_answer_is_quick(clock: Clock) -> None:
    made = _Arrivals()
    for _ in range(40):
        clock.request(made, 0.3)
    assert by(clock, made, 0.3) == 0.05
    assert by(clock, made, 0.01) == 0.01
    assert by(clock, made, 0.3) == 0.3
