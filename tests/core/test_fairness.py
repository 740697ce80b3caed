"""Shares of the workers: by weight while several workspaces have work, and nobody waits behind what others piled up.

Judged by the order in which jobs start and not by the clock.
"""

import uuid
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_tasks.core import db, fair, sweep
from crm_tasks.core.jobs import ring
from crm_tasks.core.jobs.model import Job
from crm_tasks.core.queues import Queue
from crm_tasks.core.redis import manager
from crm_tasks.workspaces import service as workspaces
from tests.core.conftest import Start
from tests.core.ledger import execute, many, rung, states, unrung, update
from tests.harness import beat, eventually, worker

NAP = "messages.test_nap"


def tenant(weight: int = 1) -> uuid.UUID:
    with db.transaction() as session:
        made = workspaces.create(session, f"of weight {weight}")
        workspaces.set_weight(session, made.id, weight, actor="test")
        return made.id


def order() -> list[uuid.UUID]:
    """Return the workspaces of the jobs that have started, the first first."""
    with db.transaction() as session:
        query = sa.select(Job.workspace_id).where(Job.started_at.is_not(None)).order_by(Job.started_at, Job.id)
        return list(session.scalars(query))


def hear(count: int) -> Counter[uuid.UUID]:
    """Take rings off the broker as workers do, and say whose they were."""
    taken = [uuid.UUID(each) for each in rung()[:count]]
    execute("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = ANY(:ids)", ids=taken)
    client = manager().client("broker")
    for key in ring.broker_keys("messages"):
        found = client.lrange(key, 0, -1)
        for item in found:
            if any(str(each).encode() in item for each in taken):
                client.lrem(key, 1, item)
    with db.transaction() as session:
        return Counter(session.scalars(sa.select(Job.workspace_id).where(Job.id.in_(taken))))


# --- shares ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", [7, 30], ids=["few at a time", "many at a time"])
def test_three_weights_get_their_shares_however_few_are_heard_at_a_time(empty: None, heard: int) -> None:
    tenants = {tenant(weight): weight for weight in (1, 2, 4)}
    for workspace_id in tenants:
        unrung(400, workspace_id=workspace_id)
    served: Counter[uuid.UUID] = Counter()
    for turn in range(40):
        sweep.ring_due(Queue.MESSAGES, at_once=heard)
        served += hear(heard)
        if turn < 10:  # the first few have been rung when there was nothing to choose from
            continue
        if served.total() >= 350:
            break
    shares = {tenants[each]: count / served.total() for each, count in served.items()}
    for weight in (1, 2, 4):
        assert abs(shares[weight] - weight / 7) < 0.02, shares


@given(weights=st.lists(st.integers(1, 9), min_size=2, max_size=5), rooms=st.lists(st.integers(1, 40), min_size=30))
@settings(max_examples=60, deadline=None)
def test_shares_hold_for_any_weights_and_rooms(weights: list[int], rooms: list[int]) -> None:
    turns, served = fair.Turns(), Counter[int]()
    lanes = [uuid.UUID(int=n + 1) for n in range(len(weights))]
    for room in rooms:
        picks = sorted(
            (turns.clocks.get(lane, turns.now) + turn / weight, lane.int)
            for lane, weight in zip(lanes, weights, strict=True)
            for turn in range(1, room + 1)
        )[:room]
        turns.took([(uuid.UUID(int=lane), clock) for clock, lane in picks])
        served.update(lane for _, lane in picks)
    for lane, weight in zip(lanes, weights, strict=True):
        fair_share = sum(rooms) * weight / sum(weights)
        assert abs(served[lane.int] - fair_share) <= max(weights) + 1


def test_who_had_nothing_to_do_has_no_credit_for_it(empty: None) -> None:
    first, second = tenant(), tenant()
    unrung(300, workspace_id=first)
    for _ in range(10):
        sweep.ring_due(Queue.MESSAGES, at_once=20)
        assert hear(20) == {first: 20}
    unrung(100, workspace_id=second)
    sweep.ring_due(Queue.MESSAGES, at_once=20)
    assert set(hear(20).values()) <= {9, 10, 11}


def test_urgent_work_goes_first_whoever_it_is_for(empty: None) -> None:
    heavy, light = tenant(100), tenant(1)
    unrung(50, workspace_id=heavy)
    urgent = unrung(5, workspace_id=light, priority=1)
    sweep.ring_due(Queue.MESSAGES, at_once=20)
    assert rung()[:5] == [str(job_id) for job_id in urgent]


# --- how many are out --------------------------------------------------------------------------------------------


def test_the_window_follows_how_much_is_heard() -> None:
    window = fair.Window(filled=True)
    for _ in range(20):  # one job in a while: no more are out than there are hands
        window.room(int(window.size), hands=4)
    assert window.size == 4
    for _ in range(20):  # all of them are heard at once, again and again
        window.room(0, hands=4)
    assert window.size == fair.MOST


def test_without_more_work_the_window_stays_as_it_is() -> None:
    window = fair.Window()
    assert [window.room(0, hands=20) for _ in range(5)] == [fair.FIRST] * 5


# --- with a worker -----------------------------------------------------------------------------------------------


def test_ten_jobs_of_another_start_soon_though_thousands_wait_before_them(start: Start, tmp_path: Path) -> None:
    crowd, small = tenant(), tenant()
    piled = many(6_000, task=NAP, args={"seconds": 0.02}, workspace_id=crowd)
    start(worker(tmp_path, "messages", include="tests.tasks", concurrency=8))
    start(beat(tmp_path))
    eventually(lambda: states(piled)["succeeded"] >= 1_000, "the worker is at it", 60)
    before = len(order())
    few = many(10, task=NAP, args={"seconds": 0.02}, workspace_id=small)
    eventually(lambda: states(few)["succeeded"] == 10, "the ten have run", 60)
    started = order()
    last = max(position for position, each in enumerate(started) if each == small)
    # Of 5,000 that were there before, the last of the ten let fewer pass than are out at once, and its own share.
    assert last - before < 1_000, last - before
    assert states(piled)["queued"] > 1_000
    update(piled, "run_at = now() + interval '1 h'")


def test_saturated_workers_are_shared_by_weight(start: Start, tmp_path: Path) -> None:
    tenants = {tenant(weight): weight for weight in (1, 2, 4)}
    waiting = [
        each
        for workspace_id in tenants
        for each in unrung(1_500, task=NAP, args={"seconds": 0.01}, workspace_id=workspace_id)
    ]
    start(worker(tmp_path, "messages", include="tests.tasks", concurrency=8))
    start(beat(tmp_path))
    eventually(lambda: states(waiting)["succeeded"] >= 1_500, "a third has run", 60)
    served = Counter(order()[:1_500])
    for workspace_id, weight in tenants.items():
        assert abs(served[workspace_id] / 1_500 - weight / 7) < 0.05, served
    update(waiting, "run_at = now() + interval '1 h'")
