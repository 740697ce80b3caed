"""What tasks there are: asked before a job is accepted, so that a wrong name or argument fails at the call."""

import inspect
import math
import uuid
from collections.abc import Mapping
from typing import Any

from celery import current_app
from sqlalchemy.orm import Session

from crm_tasks.core.errors import BadArguments, NotFound, UnknownTask, did_you_mean
from crm_tasks.core.jobs.model import JobState
from crm_tasks.core.text import clean

_LONGEST, _LARGEST = 255, 2**63
_loaded: list[bool] = []


def task_names() -> list[str]:
    """Return the names of our tasks (Celery's own, `celery.*`, left out)."""
    return sorted(name for name in _tasks() if not name.startswith("celery."))


def task_named(name: str) -> Any:
    """Return the registered task.

    Raises:
        UnknownTask: names the closest one there is.
    """
    try:
        return _tasks()[name]
    except KeyError:
        hint = did_you_mean(name, task_names())
        raise UnknownTask(f"There is no task {name!r}.{hint}") from None


def job_id(text: str) -> uuid.UUID:
    """Return a job id that somebody typed.

    Raises:
        NotFound: it cannot be one.
    """
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"There is no job {text[:64]!r}.") from None


def bind(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as the ledger keeps them: by name, ids as text.

    Raises:
        UnknownTask: no such task.
        BadArguments: one is missing, unknown, or not an id, a number, a truth value or a list of these.
    """
    task = task_named(name)
    try:
        bound = inspect.signature(task.run).bind(**args)
    except TypeError as error:
        raise BadArguments(f"{name} does not take these arguments: {error}.") from None
    return {key: _plain(name, key, value) for key, value in bound.arguments.items()}


def editable(name: str) -> tuple[str, ...]:
    """Return which arguments of a task a person may change before a dead job is retried."""
    return getattr(_tasks().get(name), "editable", ())


def follow(session: Session, name: str, state: JobState, error: BaseException | None, args: Mapping[str, Any]) -> None:
    """Let a task's room bring its row in step with a job that moves without success.

    Domain rows come first and the job last, so that two doors that touch both never wait for each other.
    """
    task = _tasks().get(name)
    # Read from the class: through the instance Python would bind the function to the task.
    room_follow = getattr(type(task), "follow", None)
    if room_follow is not None:
        room_follow(session, state, error, **args)


def _plain(task: str, key: str, value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, list | tuple | set):
        return [_plain(task, key, item) for item in value]
    if not _storable(value):
        raise BadArguments(
            f"{task}: the argument {key!r} must be an id, a number, a truth value or a list of these, "
            f"not {_kind(value)}. Store the data in a row and pass its id."
        )
    return value


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST and value == clean(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and abs(value) < _LARGEST)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"a text of {len(value)} characters" if len(value) > _LONGEST else "a text that Postgres cannot store"
    return f"this {type(value).__name__}" if isinstance(value, int | float) else type(value).__name__


def _tasks() -> Mapping[str, Any]:
    if not _loaded:
        current_app.loader.import_default_modules()
        _loaded.append(True)
    return current_app.tasks
