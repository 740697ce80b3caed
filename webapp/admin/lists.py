"""Long lists: which page of them is asked for."""

import uuid

from flask import request

from crm_tasks.core.errors import NotFound


def before() -> uuid.UUID | None:
    """Return behind which row a page of a list begins."""
    try:
        return uuid.UUID(request.args["before"]) if request.args.get("before") else None
    except ValueError:
        raise NotFound("There is no such page of this list.", hint="Begin at its first page.") from None
