"""What jobs say about customers, for people who may not see that: ids stay, addresses and numbers do not."""

import re
import uuid
from collections.abc import Callable
from typing import Any

from crm_tasks.core.jobs.model import Job
from webapp.admin.access import Here

_ADDRESS = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+")
# A phone number in any writing; a shorter one is a code or a count.
_NUMBER = re.compile(r"\+?\d(?:[\s().-]{0,3}\d){6,}")
HIDDEN = "•••"


def args(job: Job, *, personal: bool) -> dict[str, Any]:
    """Return the arguments of a job."""
    return job.args if personal else {name: _value(value) for name, value in job.args.items()}


def shower(looks: Here) -> Callable[[object], str]:
    """Return the function by which a page shows what an error says, to who looks."""
    personal = looks.may("personal")
    return lambda said: text(str(said or ""), personal=personal)


def text(said: str, *, personal: bool) -> str:
    """Return what an error says."""
    return said if personal else _NUMBER.sub(HIDDEN, _ADDRESS.sub(HIDDEN, said))


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, bool | int) or value is None:
        return value
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return HIDDEN
