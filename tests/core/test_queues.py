"""The queue table: its numbers, its other names, and what the environment may change."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from crm_tasks import config
from crm_tasks.core.errors import ConfigError, UnknownQueue
from crm_tasks.core.queues import ALIASES, POLICIES, Queue, QueuePolicy, parse_rate, queue_named, queue_of

MIN, HOUR = 60, 3600
# queue: attempts, waits, time limit, target age, pool
TABLE: dict[str, tuple[int, list[float], float, float, str]] = {
    "messages": (3, [5, 10], 60, 5, "threads"),
    "campaigns": (2, [5], 300, 60, "threads"),
    "flows": (3, [5, 10], 60, 10, "threads"),
    "email": (5, [MIN, 5 * MIN, 30 * MIN, 120 * MIN], 60, 60, "threads"),
    "webhooks": (10, [5, 5 * MIN, 30 * MIN, *(h * HOUR for h in (2, 5, 10, 14, 20, 24))], 30, 30, "threads"),
    "ai": (2, [5], 120, 10, "threads"),
    "imports": (1, [], 600, 600, "prefork"),
    "exports": (2, [5], 300, 600, "prefork"),
    "analytics": (2, [5], 300, 3600, "prefork"),
    "notifications": (3, [1, 2], 30, 5, "threads"),
}
Load = Callable[..., dict[str, QueuePolicy]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Read the table with some variables set."""

    def read(**variables: str) -> dict[str, QueuePolicy]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return config.load().queues

    return read


def test_the_queues_are_ten_and_no_more() -> None:
    assert [str(queue) for queue in Queue] == list(TABLE)
    assert set(POLICIES) == set(Queue)


@pytest.mark.parametrize("queue", TABLE)
def test_the_numbers_are_those_of_the_design(load: Load, queue: str) -> None:
    policy = load()[queue]
    waits = [policy.delay(attempt) for attempt in range(1, policy.attempts)]
    assert (policy.attempts, waits, policy.time_limit, policy.target_age, policy.pool) == TABLE[queue]
    assert (policy.keep_days, policy.concurrency, policy.rate) == (7, None, None)
    assert policy.poison_after == (5 if policy.pool == "threads" else 3)


def test_beyond_its_list_a_backoff_stays_at_its_last() -> None:
    assert POLICIES[Queue.EMAIL].delay(40) == 120 * MIN


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("ATTEMPTS", "7", "attempts", 7),
        ("BACKOFF", "0.5,1,90", "backoff", (0.5, 1.0, 90.0)),
        ("TIME_LIMIT", "2.5", "time_limit", 2.5),
        ("TARGET_AGE", "12", "target_age", 12),
        ("KEEP_DAYS", "30", "keep_days", 30),
        ("CONCURRENCY", "4", "concurrency", 4),
        ("RATE", "20/m", "rate", (20, timedelta(minutes=1))),
    ],
)
def test_each_number_can_be_changed_for_one_queue_alone(
    load: Load, variable: str, value: str, field: str, expected: Any
) -> None:
    queues = load(**{f"QUEUE_MESSAGES_{variable}": value})
    assert getattr(queues["messages"], field) == expected
    assert {name: policy for name, policy in queues.items() if name != "messages"} == {
        str(name): policy for name, policy in POLICIES.items() if name != "messages"
    }


def test_one_cap_for_all_gives_way_to_the_cap_of_a_queue(load: Load) -> None:
    queues = load(QUEUE_CONCURRENCY="3", QUEUE_AI_CONCURRENCY="9")
    assert (queues["ai"].concurrency, queues["messages"].concurrency) == (9, 3)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ATTEMPTS", "0"),
        ("ATTEMPTS", "many"),
        ("BACKOFF", ""),
        ("BACKOFF", "5,x"),
        ("TIME_LIMIT", "0"),
        ("TARGET_AGE", "-1"),
        ("KEEP_DAYS", "0"),
        ("CONCURRENCY", "0"),
        ("RATE", "20"),
        ("RATE", "0/m"),
        ("RATE", "20/w"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_by_name(load: Load, variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"QUEUE_MESSAGES_{variable}: "):
        load(**{f"QUEUE_MESSAGES_{variable}": value})


@pytest.mark.parametrize(
    ("text", "seconds"), [("1/s", 1), ("20/m", 60), ("500/h", 3600), ("9/d", 86400), (" 20/m ", 60)]
)
def test_a_rate_is_a_number_per_second_minute_hour_or_day(text: str, seconds: int) -> None:
    count, per = parse_rate(text) or (0, timedelta(0))
    assert (count, per) == (int(text.split("/")[0]), timedelta(seconds=seconds))
    assert parse_rate("") is None


def test_older_names_are_the_queues_that_took_their_work() -> None:
    assert {name: str(queue) for name, queue in ALIASES.items()} == {
        "emails": "email",
        "send-email-queue": "email",
        "scheduled-email-queue": "email",
        "send-sms-queue": "messages",
        "scheduled-sms-queue": "messages",
        "whatsapp-messages": "messages",
        "ai-response-queue": "ai",
        "import-queue": "imports",
        "export-queue": "exports",
    }
    assert not set(ALIASES) & set(Queue)
    assert queue_named(" emails ") is Queue.EMAIL
    assert queue_of("ai.reply") is Queue.AI


def test_an_unknown_queue_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownQueue) as refused:
        queue_named("mesages")
    assert "Did you mean 'messages'?" in refused.value.message
    assert all(queue in refused.value.message for queue in Queue)


def test_a_task_goes_to_the_queue_of_its_prefix() -> None:
    from crm_tasks.celery import app
    from crm_tasks.core.jobs import registry

    routes = app.conf.task_routes
    names = [name for name in registry.task_names() if not name.startswith("pytest_celery.")]
    assert "messages.send" in names
    for name in names:
        assert routes[f"{queue_of(name)}.*"] == {"queue": name.split(".")[0]}
