"""One delivery: what is sent, and what each answer means."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from crm_tasks.core import db
from crm_tasks.core.jobs.model import JobState
from crm_tasks.webhooks.models import DeliveryState, EndpointState
from crm_tasks.webhooks.service import endpoints
from tests.core.ledger import execute
from tests.fixtures import Demo
from tests.harness import free_ports
from tests.webhooks.hooks import (
    add,
    attempts,
    bring_forward,
    delivery,
    endpoint,
    job_of,
    jobs,
    states,
    tell,
    tell_and_deliver,
    try_again,
    work_off,
)
from tests.webhooks.receiver import Answer, Receiver, receiver


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def wait_of(found: object) -> float:
    """Return the seconds until the next attempt of a delivery."""
    job = job_of(found)  # type: ignore[arg-type]
    ((seconds,),) = execute("SELECT extract(epoch FROM run_at - crm_now()) FROM jobs WHERE id = :id", id=job.id)
    return float(seconds)


def test_it_arrives_signed_so_that_the_public_library_believes_it(demo: Demo, there: Receiver) -> None:
    made = add(demo, there.url)
    event_id = tell(demo, data={"text": "Grüße 👋", "n": 1})
    work_off()
    (request,) = there.got
    told = request.verify(made.secret)
    assert told["type"] == "message.received"
    assert told["data"] == {"text": "Grüße 👋", "n": 1}
    assert abs(datetime.fromisoformat(told["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert request.id == str(event_id)
    assert request.headers["content-type"] == "application/json"
    assert "x-hub-signature-256" not in request.headers
    found = delivery()
    assert (found.state, found.attempts, found.last_status) == (DeliveryState.DELIVERED, 1, 200)
    (attempt,) = attempts()
    assert (attempt.status, attempt.excerpt, attempt.error) == (200, "thank you", None)
    assert job_of(found).state is JobState.SUCCEEDED


def test_the_older_signature_is_made_where_it_is_wanted(demo: Demo, there: Receiver) -> None:
    made = add(demo, there.url, hub_signature=True)
    tell_and_deliver(demo)
    (request,) = there.got
    digest = hmac.new(made.secret.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature-256"] == f"sha256={digest}"
    request.verify(made.secret)


def test_both_secrets_are_good_for_24_hours_after_a_rotation(
    demo: Demo, there: Receiver, clock: Callable[[str], None]
) -> None:
    before = add(demo, there.url).secret
    with db.transaction() as session:
        made = endpoints.listed(session, demo.workspace_id)[0]
        after = endpoints.rotate_secret(session, demo.workspace_id, made.id, actor="a test").secret
    assert after != before
    tell_and_deliver(demo)
    for secret in (before, after):
        there.got[0].verify(secret)
    clock("now() + interval '24 hours'")
    tell_and_deliver(demo)
    assert len(there.got[0].headers["webhook-signature"].split()) == 2
    assert len(there.got[1].headers["webhook-signature"].split()) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_yes(demo: Demo, status: int) -> None:
    with receiver(Answer(status, body=b"")) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
    assert states() == ["delivered"]


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 422, 429, 500, 501, 502, 503, 504, 599])
def test_anything_else_is_tried_again_after_5_seconds(demo: Demo, status: int) -> None:
    with receiver(Answer(status, body=b"no"), Answer()) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
        found = delivery()
        assert (found.state, found.last_status, found.last_error) == (DeliveryState.PENDING, status, f"HTTP {status}")
        assert 3.5 < wait_of(found) <= 6
        try_again()
        assert delivery().state is DeliveryState.DELIVERED
        first, second = there.got
    assert first.id == second.id
    assert first.body == second.body
    assert [each.status for each in attempts()] == [status, 200]


def test_a_redirect_is_a_failure_and_is_not_followed(demo: Demo) -> None:
    with receiver() as elsewhere, receiver(Answer(302, {"Location": elsewhere.url})) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
        assert (len(there.got), len(elsewhere.got)) == (1, 0)
    assert delivery().last_error == "HTTP 302: redirects are not followed"


def test_nobody_there_is_a_failure(demo: Demo) -> None:
    add(demo, f"http://127.0.0.1:{free_ports(1)[0]}/")
    tell_and_deliver(demo)
    found = delivery()
    assert (found.state, found.last_status, found.last_error) == (DeliveryState.PENDING, None, "NewConnectionError")


def test_the_waits_between_the_ten_attempts(demo: Demo) -> None:
    with receiver(Answer(500)) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
        waits = []
        for _ in range(9):
            waits.append(wait_of(delivery()))
            try_again()
        assert len(there.got) == 10
    hours = 3600
    for wait, planned in zip(waits, [5, 300, 1800, *(h * hours for h in (2, 5, 10, 14, 20, 24))], strict=True):
        assert planned * 0.79 < wait < planned * 1.21
    found = delivery()
    assert (found.state, found.attempts) == (DeliveryState.FAILED, 10)
    assert job_of(found).state is JobState.DEAD
    assert len({each.id for each in there.got}) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_wait_that_is_asked_for_is_kept_a_day_at_most(demo: Demo, status: int) -> None:
    with receiver(Answer(status, {"Retry-After": "900"}), Answer(status, {"Retry-After": "9999999"})) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
        assert 890 < wait_of(delivery()) <= 900
        try_again()
        assert 86_390 < wait_of(delivery()) <= 86_400
        assert len(there.got) == 2


def test_a_wait_may_be_a_date_and_is_never_shorter_than_planned(demo: Demo) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    answers = (
        Answer(503, {"Retry-After": later}),
        Answer(503, {"Retry-After": "0"}),
        Answer(503, {"Retry-After": "x"}),
    )
    with receiver(*answers) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
        assert 590 < wait_of(delivery()) <= 601
        for planned in (300, 1800):
            try_again()
            assert planned * 0.79 < wait_of(delivery()) < planned * 1.21


def test_an_endpoint_that_is_told_to_wait_is_left_alone_by_all(demo: Demo) -> None:
    with receiver(Answer(503, {"Retry-After": "60"})) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
        tell_and_deliver(demo)
        assert len(there.got) == 1
    found = [each.state for each in jobs()]
    assert found == [JobState.QUEUED, JobState.QUEUED]


def test_gone_disables_the_endpoint_at_once(demo: Demo) -> None:
    with receiver(Answer(410)) as there:
        made = add(demo, there.url)
        for _ in range(3):
            tell(demo)
        execute(
            "UPDATE jobs SET run_at = crm_now() + interval '1 hour' WHERE id <> (SELECT min(id::text)::uuid FROM jobs)"
        )
        work_off()
        found = endpoint(made.id)
        assert (found.state, found.disabled_reason) == (EndpointState.DISABLED, "it answered 410 Gone")
        assert states() == ["failed", "cancelled", "cancelled"]
        assert [each.state for each in jobs()] == [JobState.SUCCEEDED, JobState.CANCELLED, JobState.CANCELLED]
        bring_forward()
        work_off()
        assert tell(demo) is None
        assert len(there.got) == 1


@pytest.mark.parametrize("status", [400, 500, 503])
def test_abort_message_ends_the_tries(demo: Demo, status: int) -> None:
    with receiver(Answer(status, {"Webhook-Delivery": "abort-message"})) as there:
        made = add(demo, there.url)
        tell_and_deliver(demo)
        bring_forward()
        work_off()
        assert len(there.got) == 1
    assert states() == ["failed"]
    assert endpoint(made.id).state is EndpointState.ENABLED
    assert job_of(delivery()).state is JobState.SUCCEEDED


def test_five_days_of_nothing_but_failure_disable_it(demo: Demo, clock: Callable[[str], None]) -> None:
    with receiver(Answer(500)) as there:
        made = add(demo, there.url)
        tell_and_deliver(demo)
        clock("now() + interval '119 hours'")
        tell(demo)
        try_again()
        assert endpoint(made.id).state is EndpointState.ENABLED
        clock("now() + interval '121 hours'")
        bring_forward()
        work_off()
        found = endpoint(made.id)
        assert (found.state, found.disabled_reason) == (EndpointState.DISABLED, "nothing but failures for 5 days")
        assert states() == ["cancelled", "cancelled"]
        sent = len(there.got)
        bring_forward()
        work_off()
        assert len(there.got) == sent


def test_one_success_in_five_days_keeps_it(demo: Demo, clock: Callable[[str], None]) -> None:
    with receiver(Answer(500), Answer(200), Answer(500)) as there:
        made = add(demo, there.url)
        tell_and_deliver(demo)
        clock("now() + interval '100 hours'")
        try_again()
        clock("now() + interval '130 hours'")
        tell_and_deliver(demo)
        assert len(there.got) == 3
    found = endpoint(made.id)
    assert (found.state, found.failures) == (EndpointState.ENABLED, 1)


def test_an_answer_is_kept_in_short(demo: Demo) -> None:
    with receiver(Answer(200, body=b"\x00\xff" + b"x" * 5_000_000)) as there:
        add(demo, there.url)
        tell_and_deliver(demo)
    (attempt,) = attempts()
    assert len(attempt.excerpt or "") == 1024
    assert attempt.excerpt is not None and attempt.excerpt.startswith("\ufffd\ufffdxxx")


def test_what_was_cancelled_meanwhile_is_not_tried_again_but_a_yes_is_kept(demo: Demo) -> None:
    with receiver(Answer(500), Answer(200)) as there:
        made = add(demo, there.url)
        switch_off = lambda _request: change(demo, made.id, state="disabled")  # noqa: E731
        there.before = switch_off
        tell_and_deliver(demo)
        assert states() == ["cancelled"]
        there.before = lambda _request: None
        change(demo, made.id, state="enabled")
        there.before = switch_off
        tell_and_deliver(demo)
        assert states() == ["cancelled", "delivered"]


def change(demo: Demo, endpoint_id: object, **values: object) -> None:
    with db.transaction() as session:
        endpoints.change(session, demo.workspace_id, endpoint_id, values, actor="a test")  # type: ignore[arg-type]
