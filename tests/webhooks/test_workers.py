"""Deliveries by real workers: a killed one loses nothing, a dead endpoint delays nobody."""

import threading
from collections.abc import Callable
from pathlib import Path

from crm_tasks.core.jobs.model import JobState
from crm_tasks.webhooks.models import DeliveryState
from tests.core.ledger import QUICK
from tests.fixtures import Demo
from tests.harness import Program, beat, eventually, worker
from tests.webhooks.hooks import add, attempts, delivery, jobs, states, tell
from tests.webhooks.receiver import Request, receiver

Start = Callable[[Program], Program]


def test_what_a_killed_worker_was_delivering_is_delivered_again_under_the_same_id(
    demo: Demo, start: Start, tmp_path: Path
) -> None:
    arrived, let_go = threading.Event(), threading.Event()

    def hold_the_first(_request: Request) -> None:
        if not arrived.is_set():
            arrived.set()
            let_go.wait(60)

    with receiver() as there:
        there.before = hold_the_first
        made = add(demo, there.url)
        first = start(worker(tmp_path, "webhooks", name="first", **QUICK))
        start(beat(tmp_path, **QUICK))
        tell(demo)
        assert arrived.wait(30)
        first.kill()
        start(worker(tmp_path, "webhooks", name="second", **QUICK))
        eventually(lambda: delivery().state is DeliveryState.DELIVERED, "delivered again", 60)
        let_go.set()
        one, two = there.got
        assert (one.id, one.body) == (two.id, two.body)
        for request in (one, two):
            request.verify(made.secret)
    (job,) = jobs()
    assert (job.state, job.crashes, job.attempt) == (JobState.SUCCEEDED, 1, 0)
    assert [each.status for each in attempts()] == [200]


def test_an_endpoint_that_never_answers_delays_no_other(demo: Demo, start: Start, tmp_path: Path) -> None:
    over = threading.Event()
    with receiver() as dead, receiver() as well:
        dead.before = lambda _request: (over.wait(120), None)[1]
        silent, fine = add(demo, dead.url), add(demo, well.url, rate=100)
        start(worker(tmp_path, "webhooks", concurrency=8, WEBHOOK_TIMEOUT="25"))
        start(beat(tmp_path))
        for _ in range(30):
            tell(demo)
        eventually(lambda: states(fine.id) == ["delivered"] * 30, "all of the other are delivered", 60)
        assert set(states(silent.id)) == {"pending"}
        # Five at once and no more, for as long as they hang.
        assert 1 <= len(dead.got) <= silent.concurrency
        over.set()
        eventually(lambda: states(silent.id) == ["delivered"] * 30, "it comes back", 60)
