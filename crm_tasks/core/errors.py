"""What can go wrong, in two families: outcomes of a task, and domain errors that a door shows to a person."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean …?` with the closest known name, or nothing."""
    close = get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {str(close[0])!r}?" if close else ""


class ConfigError(Exception):
    """The environment or the set-up does not allow this process to run."""


# --- outcomes of a task ------------------------------------------------------------------------------------------


class Outcome(Exception):
    """Raised by a task to say how it ended.

    `code` names the cause for people and for grouping; `detail` is what the task's own row is to remember of it.
    """

    def __init__(self, message: str = "", *, code: str = "", detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).__name__.lower()
        self.detail = detail


class Transient(Outcome):
    """It may work later: retried by the policy of its queue, one attempt used.

    `retry_after` overrides the policy's delay when the other side said how long to wait.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        detail: dict[str, Any] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, code=code, detail=detail)
        self.retry_after = retry_after


class Permanent(Outcome):
    """It never will work: dead at once, waiting for a person."""


class Snooze(Outcome):
    """Not now, and nobody's fault: run again at `until` (or after a while); no attempt is used."""

    def __init__(
        self,
        until: datetime | timedelta,
        message: str = "",
        *,
        code: str = "",
        detail: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message or f"not before {until}", code=code, detail=detail)
        self.until = until


class Cancelled(Outcome):
    """The job was cancelled while it ran; raised by `check()` and `progress()` so that a long task can stop."""


class LeaseLost(Outcome):
    """Another claim owns this job by now: nothing new may be started in its name."""


class TimeLimit(Transient):
    """The task ran longer than its queue allows."""


# --- errors shown to people --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field, and what to do about it."""

    field: str
    message: str
    code: str = "invalid"


class DomainError(Exception):
    """Base of what a caller did wrong or asked of the wrong state. `code` is stable; `hint` says what to do."""

    code = "error"

    def __init__(self, message: str, *, code: str = "", hint: str = "", fields: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.hint = hint
        self.fields = tuple(fields)


class NotFound(DomainError):
    """There is no such thing, or not in this workspace."""

    code = "not_found"


class Conflict(DomainError):
    """The thing is in a state that does not allow this."""

    code = "conflict"


class Invalid(DomainError):
    """The input cannot be accepted as it is."""

    code = "invalid"


class Unauthorized(DomainError):
    """No valid credentials came with the request."""

    code = "unauthorized"


class Forbidden(DomainError):
    """The credentials are valid but do not allow this."""

    code = "forbidden"


class Unavailable(DomainError):
    """A store that this needs is away; the same call works again later."""

    code = "unavailable"


class UnknownQueue(Invalid):
    """There is no queue of that name."""

    code = "unknown_queue"


class UnknownTask(Invalid):
    """There is no task of that name."""

    code = "unknown_task"


class BadArguments(Invalid):
    """The task does not take these arguments."""

    code = "bad_arguments"
