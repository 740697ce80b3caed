"""A message leaves at its slot or at another one, never beside."""

import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crm_tasks.core import pace
from crm_tasks.core.pace import Bucket, Slot, Window, Wish
from crm_tasks.core.pace.buckets import Entry
from crm_tasks.core.redis import manager
from crm_tasks.messages.service import leaving, pacing
from crm_tasks.messages.service.pacing import Start
from crm_tasks.messages.service.sending import Order
from crm_tasks.providers import loop
from tests.harness import eventually
from tests.prove.healthy import open_account

WISH = Wish([Bucket("channel:of-this-test", 20)])
SLOT = Slot(True, timedelta(0), None)


def start(left: float) -> Start:
    """Return a slot that is so many seconds ahead."""
    return Start(SLOT, time.monotonic() + left, WISH)


class Provider:
    """Notes when it was asked; on the loop, or by a thread as those do that are not on it."""

    def __init__(self, *, on_loop: bool) -> None:
        self.asked: list[float] = []
        self.send_async = self._send if on_loop else None

    async def _send(self, sender: Any, message: Any) -> str:
        return self.send(sender, message)

    def send(self, _sender: Any, _message: Any) -> str:
        self.asked.append(time.monotonic())
        return "sent"


def order(provider: Any, first: Start) -> Order:
    return Order(provider, cast(Any, None), cast(Any, SimpleNamespace(id="1")), first)


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> list[Start | None]:
    """What is given to whoever has lost a slot, in turn; then nothing."""
    given: list[Start | None] = []
    monkeypatch.setattr(Start, "another", lambda _self: given.pop(0) if given else None)
    monkeypatch.setattr(pace, "give_back", lambda _slot: None)
    return given


@pytest.fixture
def never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a start be late by half a minute: how fast this machine is decides nothing."""
    monkeypatch.setattr(pacing, "LATE_EVENLY", 30)


@pytest.mark.usefixtures("never_late")
@pytest.mark.parametrize("on_loop", [True, False])
def test_it_leaves_at_its_slot(slots: list[Start | None], on_loop: bool) -> None:
    provider, first = Provider(on_loop=on_loop), start(0.2)
    assert leaving.leave(order(provider, first), lambda: True) == "sent"
    assert provider.asked[0] >= first.due


@pytest.mark.usefixtures("never_late")
@pytest.mark.parametrize("on_loop", [True, False])
def test_a_lost_slot_is_left_for_another_and_without_one_nothing_leaves(
    slots: list[Start | None], on_loop: bool
) -> None:
    provider, lost = Provider(on_loop=on_loop), start(-60)
    another = replace(lost, due=time.monotonic() + 0.2)
    slots += [lost, another]
    assert leaving.leave(order(provider, lost), lambda: True) == "sent"
    assert [asked >= another.due for asked in provider.asked] == [True]
    assert leaving.leave(order(provider, lost), lambda: True) is None
    assert len(provider.asked) == 1


@pytest.mark.usefixtures("never_late")
@pytest.mark.parametrize("on_loop", [True, False])
def test_without_leave_nothing_leaves(slots: list[Start | None], on_loop: bool) -> None:
    provider = Provider(on_loop=on_loop)
    assert leaving.leave(order(provider, start(0)), lambda: False) is None
    assert provider.asked == []


@pytest.mark.usefixtures("never_late")
def test_a_slot_that_is_over_once_there_is_a_connection_is_lost_too(slots: list[Start | None]) -> None:
    provider = Provider(on_loop=True)
    answers: list[Any] = [loop.TooLate(), "sent"]

    async def connects(_sender: Any, _message: Any) -> str:
        may_leave = loop._may_leave.get()
        assert may_leave is not None and may_leave()
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    provider.send_async = connects
    slots += [start(0)]
    assert leaving.leave(order(provider, start(0)), lambda: True) == "sent"
    assert answers == [] and slots == []


@pytest.mark.parametrize(("rate", "leaves"), [(1.0, False), (0.1, True)])
def test_a_connection_that_takes_long_costs_no_slot_where_the_next_one_would_have_to_be_made_again(
    slots: list[Start | None], rate: float, leaves: bool
) -> None:
    provider, first = Provider(on_loop=True), replace(start(0), wish=Wish([Bucket("channel:of-this-test", rate)]))

    async def connects(_sender: Any, _message: Any) -> str:
        object.__setattr__(first, "due", first.due - 60)  # so long the connection took
        may_leave = loop._may_leave.get()
        assert may_leave is not None
        if not may_leave():
            raise loop.TooLate
        return "sent"

    provider.send_async = connects
    assert leaving.leave(order(provider, first), lambda: True) == ("sent" if leaves else None)


@pytest.mark.usefixtures("never_late")
def test_without_leave_once_there_is_a_connection_nothing_leaves(slots: list[Start | None]) -> None:
    provider, leave = Provider(on_loop=True), [True, False]

    async def connects(_sender: Any, _message: Any) -> str:
        may_leave = loop._may_leave.get()
        assert may_leave is not None and not may_leave()
        raise loop.TooLate

    provider.send_async = connects
    assert leaving.leave(order(provider, start(0)), lambda: leave.pop(0)) is None
    assert leave == []


@pytest.mark.usefixtures("empty")
def test_another_slot_is_one_of_those_that_are_left_within_a_second() -> None:
    open_account()
    first, second = (pacing._starts([WISH])[0] for _ in range(2))
    third = second.another()
    assert third is not None and third.slot.reserved
    # What nobody has built upon is given back: the third is where the second was.
    assert third.due - first.due == pytest.approx(1 / 20, abs=0.02)
    taken = [pacing._starts([WISH])[0] for _ in range(25)]
    assert not taken[-1].slot.reserved
    assert first.another() is None


def test_how_late_a_start_may_be_follows_from_how_near_the_next_one_is() -> None:
    assert start(-pacing.LATE_EVENLY / 2).in_time()
    assert not start(-pacing.LATE_EVENLY * 6).in_time()
    slow = replace(start(-pacing.LATE_EVENLY * 6), wish=Wish([Bucket("a minute between two", 1 / 60)]))
    assert slow.in_time()
    fast = replace(start(-1.0), wish=Wish([Bucket("beyond what providers count", 5_000)]))
    assert fast.in_time()
    assert replace(fast, wish=Wish([])).in_time()
    assert not replace(fast, due=fast.due - 1.0).in_time()


def test_a_start_whose_arrival_is_counted_may_be_later() -> None:
    window = Window("channel:of-this-test", 20)
    counted = replace(SLOT, counted=(Entry(window.name, "low", "1"),))
    late = Start(counted, time.monotonic() - pacing.LATE_EVENLY * 6, Wish([window]))
    assert late.in_time()
    assert not replace(late, due=late.due - 0.2).in_time()
    # What asking took is a part of it: Redis counts from the start that it gave.
    assert not replace(late, asked_for=0.2).in_time()
    # Without Redis nobody counts; and what is beside the window has its own time.
    assert not replace(late, slot=SLOT).in_time()
    assert not replace(late, wish=Wish([window, Bucket("workspace:of-this-test", 8)])).in_time()
    beside = replace(late, wish=Wish([window, Bucket("workspace:of-this-test", 5_000)]))
    assert beside.in_time() and not replace(beside, due=beside.due - 0.2).in_time()


@pytest.mark.usefixtures("empty")
def test_how_long_asking_took_counts_only_where_a_window_keeps_account() -> None:
    open_account()
    evenly, counted = pacing._starts([WISH, Wish([Window("counted", 20)])])
    assert evenly.asked_for == 0 < counted.asked_for


@pytest.mark.usefixtures("empty", "never_late")
def test_a_request_counts_from_when_it_has_arrived(slots: list[Start | None]) -> None:
    open_account()
    window = Window("channel:of-this-test", 20, share=0)
    first = pacing._starts([Wish([window])])[0]
    client, key = manager().client(), f"crm:pace:{window.name}:low"
    unheard = client.zrange(key, 0, -1, withscores=True)
    leaving.leave(order(Provider(on_loop=True), first), lambda: True)
    assert eventually(lambda: client.zrange(key, 0, -1, withscores=True) != unheard)
    ((_, by),) = client.zrange(key, 0, -1, withscores=True)
    seconds, rest = client.time()
    assert first.slot.at is not None
    assert first.slot.at <= by / 1e6 <= seconds + rest / 1e6
