"""The queues: one table of names and numbers. A task's prefix is its queue."""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from environs import Env, ValidationError
from environs import validate as check

from crm_tasks.core.errors import UnknownQueue, did_you_mean


class Queue(StrEnum):
    """The ten queues, one per type of work."""

    MESSAGES = "messages"
    CAMPAIGNS = "campaigns"
    FLOWS = "flows"
    EMAIL = "email"
    WEBHOOKS = "webhooks"
    AI = "ai"
    IMPORTS = "imports"
    EXPORTS = "exports"
    ANALYTICS = "analytics"
    NOTIFICATIONS = "notifications"


# Nobody sits and waits for what is done here.
BACKGROUND = frozenset({Queue.CAMPAIGNS, Queue.IMPORTS, Queue.EXPORTS, Queue.ANALYTICS})


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """How the jobs of one queue are tried, limited, judged and kept. Times are seconds."""

    attempts: int
    backoff: tuple[float, ...]
    time_limit: float
    target_age: float
    pool: str
    keep_days: float
    concurrency: int | None = None
    rate: tuple[int, timedelta] | None = None

    @property
    def poison_after(self) -> int:
        """Return how many lost leases make a job poison: threads share their process's fate with neighbours."""
        return 5 if self.pool == "threads" else 3

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after failure number `attempt` (1 is the first)."""
        return self.backoff[min(attempt, len(self.backoff)) - 1]


def _doubling(first: float, steps: int = 10) -> tuple[float, ...]:
    return tuple(first * 2**n for n in range(steps))


MINUTE, HOUR = 60.0, 3600.0
# Email: greylisting needs at least five minutes. Webhooks: the example schedule of Standard Webhooks 1.0.0.
_EMAIL_BACKOFF = (MINUTE, 5 * MINUTE, 30 * MINUTE, 120 * MINUTE)
_WEBHOOK_BACKOFF = (5.0, 5 * MINUTE, 30 * MINUTE, *(h * HOUR for h in (2, 5, 10, 14, 20, 24)))


def _policy(attempts: int, backoff: tuple[float, ...], limit: float, age: float, pool: str = "threads") -> QueuePolicy:
    return QueuePolicy(attempts=attempts, backoff=backoff, time_limit=limit, target_age=age, pool=pool, keep_days=7.0)


# fmt: off
POLICIES: dict[Queue, QueuePolicy] = {
    Queue.MESSAGES:      _policy(3,  _doubling(5),     60.0,   5.0),
    Queue.CAMPAIGNS:     _policy(2,  _doubling(5),     300.0,  60.0),
    Queue.FLOWS:         _policy(3,  _doubling(5),     60.0,   10.0),
    Queue.EMAIL:         _policy(5,  _EMAIL_BACKOFF,   60.0,   60.0),
    Queue.WEBHOOKS:      _policy(10, _WEBHOOK_BACKOFF, 30.0,   30.0),
    Queue.AI:            _policy(2,  _doubling(5),     120.0,  10.0),
    Queue.IMPORTS:       _policy(1,  _doubling(5),     600.0,  600.0,  "prefork"),
    Queue.EXPORTS:       _policy(2,  _doubling(5),     300.0,  600.0,  "prefork"),
    Queue.ANALYTICS:     _policy(2,  _doubling(5),     300.0,  3600.0, "prefork"),
    Queue.NOTIFICATIONS: _policy(3,  _doubling(1),     30.0,   5.0),
}
# fmt: on

# Names that the replaced systems used; accepted by `-Q`, the API and the command line.
ALIASES: dict[str, Queue] = {
    "emails": Queue.EMAIL,
    "send-email-queue": Queue.EMAIL,
    "scheduled-email-queue": Queue.EMAIL,
    "send-sms-queue": Queue.MESSAGES,
    "scheduled-sms-queue": Queue.MESSAGES,
    "whatsapp-messages": Queue.MESSAGES,
    "ai-response-queue": Queue.AI,
    "import-queue": Queue.IMPORTS,
    "export-queue": Queue.EXPORTS,
}


def queue_named(name: str) -> Queue:
    """Return the queue of this name or of one of the older names.

    Raises:
        UnknownQueue: says which names there are.
    """
    name = name.strip()
    try:
        return ALIASES.get(name) or Queue(name)
    except ValueError:
        hint = did_you_mean(name, [*Queue, *ALIASES])
        raise UnknownQueue(f"There is no queue {name!r}.{hint} Queues: {', '.join(Queue)}.") from None


def queue_of(task: str) -> Queue:
    """Return the queue of a task name: its prefix."""
    return queue_named(task.split(".", 1)[0])


def queue_policies(env: Env) -> dict[str, QueuePolicy]:
    """Return the table with the overrides of the environment: `QUEUE_<NAME>_ATTEMPTS` and the like."""
    default_cap = env.int("QUEUE_CONCURRENCY", None, validate=check.Range(1))
    return {queue: _overridden(env, queue, policy, default_cap) for queue, policy in POLICIES.items()}


def _overridden(env: Env, queue: Queue, policy: QueuePolicy, default_cap: int | None) -> QueuePolicy:
    name = f"QUEUE_{queue.upper()}_"
    positive = check.Range(min=0, min_inclusive=False)
    return replace(
        policy,
        attempts=env.int(name + "ATTEMPTS", policy.attempts, validate=check.Range(1, 100)),
        backoff=tuple(
            env.list(name + "BACKOFF", list(policy.backoff), subcast=float, validate=check.Length(min=1)) or ()
        ),
        time_limit=env.float(name + "TIME_LIMIT", policy.time_limit, validate=positive),
        target_age=env.float(name + "TARGET_AGE", policy.target_age, validate=positive),
        keep_days=env.float(name + "KEEP_DAYS", policy.keep_days, validate=positive),
        concurrency=env.int(name + "CONCURRENCY", default_cap, validate=check.Range(1)),
        rate=parse_rate(env.str(name + "RATE", "", validate=_is_rate) or ""),
    )


def task_rates(env: Env) -> dict[str, tuple[int, timedelta]]:
    """Return the rates of single tasks by name: `TASK_RATES=messages.send=20/m,ai.reply=60/m`."""
    text = env.str("TASK_RATES", "", validate=_are_task_rates) or ""
    found = {name.strip(): parse_rate(rate) for name, _, rate in (each.partition("=") for each in _entries(text))}
    return {name: rate for name, rate in found.items() if rate is not None}


_RATE = re.compile(r"([1-9]\d*)/([smhd])")
_TASK = re.compile(r"\w+(\.\w+)+")
_PER = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_rate(text: str) -> tuple[int, timedelta] | None:
    """Return `20/m` as (20, one minute); anything else, such as nothing, is no limit."""
    match = _RATE.fullmatch(text.strip())
    return (int(match[1]), timedelta(seconds=_PER[match[2]])) if match else None


def _is_rate(text: str) -> None:
    if text and not _RATE.fullmatch(text.strip()):
        raise ValidationError("Write a rate as 20/m: a number, a slash and one of s, m, h, d.")


def _entries(text: str) -> list[str]:
    return text.split(",") if text.strip() else []


def _are_task_rates(text: str) -> None:
    named = [each.partition("=")[::2] for each in _entries(text)]
    if not all(_TASK.fullmatch(name.strip()) and parse_rate(rate) for name, rate in named):
        raise ValidationError("Write messages.send=20/m,ai.reply=60/m: a task, =, and a rate in one of s, m, h, d.")
    if len({name.strip() for name, _ in named}) < len(named):
        raise ValidationError("Name each task once.")
