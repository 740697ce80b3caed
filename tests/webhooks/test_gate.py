"""When an endpoint is called: at its rate, so many at once, rarely while it only fails."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise

import pytest

from crm_tasks.config import settings
from crm_tasks.core.redis import manager
from crm_tasks.webhooks.models import Delivery
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.messages.apply import rows
from tests.webhooks.hooks import add, endpoint, jobs, states, tell, work_off
from tests.webhooks.receiver import Answer, Receiver, receiver

_UNDER_WAY = "UPDATE webhook_deliveries SET under_way_until = crm_now() + interval '20 s' WHERE id = :id"


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def due(demo: Demo, count: int) -> list[Delivery]:
    """Publish so many things and return the deliveries."""
    for _ in range(count):
        tell(demo)
    return rows(Delivery)


def test_an_endpoint_that_only_fails_is_asked_once_in_a_while(demo: Demo, clock: Callable[[str], None]) -> None:
    with receiver(*[Answer(500)] * 6, Answer()) as there:
        made = add(demo, there.url, rate=100)
        due(demo, 20)
        work_off()
        assert (len(there.got), endpoint(made.id).failures) == (5, 5)
        assert [job.attempt for job in jobs()] == [1] * 5 + [0] * 15
        clock("now() + interval '30 s'")
        work_off()
        assert (len(there.got), endpoint(made.id).failures) == (6, 6)
        clock("now() + interval '2 minutes'")
        work_off()
        assert endpoint(made.id).failures == 0
        # The first of them has failed twice, and has its own wait.
        assert states() == ["pending"] + ["delivered"] * 19


def test_so_many_at_once_and_no_more(demo: Demo, there: Receiver) -> None:
    add(demo, there.url, concurrency=2)
    first, second, third = due(demo, 3)
    for each in (first, second):
        execute(_UNDER_WAY, id=each.id)
    execute("UPDATE jobs SET run_at = crm_now() + interval '1 hour' WHERE id <> :id", id=third.job_id)
    work_off()
    assert (states(), len(there.got)) == (["pending"] * 3, 0)
    assert [job.attempt for job in jobs()] == [0, 0, 0]


def test_a_place_that_a_killed_worker_left_is_free_after_a_while(
    demo: Demo, there: Receiver, clock: Callable[[str], None]
) -> None:
    add(demo, there.url, concurrency=1)
    first, _ = due(demo, 2)
    execute(_UNDER_WAY, id=first.id)
    execute("UPDATE jobs SET run_at = crm_now() + interval '1 hour' WHERE id = :id", id=first.job_id)
    clock("now() + interval '21 s'")
    work_off()
    assert states() == ["pending", "delivered"]


def test_while_it_fails_one_request_tries_whether_it_is_back(demo: Demo, there: Receiver) -> None:
    add(demo, there.url, concurrency=5)
    first, second = due(demo, 2)
    execute("UPDATE webhook_endpoints SET failures = 5, failing_since = crm_now()")
    execute(_UNDER_WAY, id=first.id)
    execute("UPDATE jobs SET run_at = crm_now() + interval '1 hour' WHERE id = :id", id=first.job_id)
    work_off()
    assert (states(), len(there.got)) == (["pending", "pending"], 0)
    execute("UPDATE webhook_deliveries SET under_way_until = NULL")
    execute("UPDATE jobs SET run_at = crm_now() WHERE id = :id", id=second.job_id)
    work_off()
    assert states() == ["pending", "delivered"]


def test_more_than_the_rate_wait_without_using_an_attempt(demo: Demo, there: Receiver) -> None:
    made = add(demo, there.url, rate=1)
    in_a_minute = round((time.time() + 60) * 1_000_000)
    manager().client().hset(f"{settings().key_prefix}pace:webhook:{made.id}", "low", in_a_minute)
    due(demo, 5)
    work_off()
    assert there.got == []
    assert [job.attempt for job in jobs()] == [0] * 5
    turns = [job.run_at for job in jobs()]
    for earlier, later in pairwise(turns):
        assert timedelta(seconds=0.5) < later - earlier < timedelta(seconds=1.5)
