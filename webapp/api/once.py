"""`Idempotency-Key`: what a request made is made once, and answered the same again."""

from collections.abc import Callable
from typing import Any

from flask import request
from sqlalchemy.orm import Session

from crm_tasks.core import idempotency
from crm_tasks.core.db import transaction
from webapp.auth import caller

DOCUMENTED = [
    {
        "in": "header",
        "name": "Idempotency-Key",
        "schema": {"type": "string", "maxLength": idempotency.MAX_KEY},
        "description": "The same key and body get the same answer; the key with another body is a 409.",
    }
]


def once(make: Callable[[Session], dict[str, Any]], status: int = 202) -> tuple[dict[str, Any], int]:
    """Make something in one transaction and answer it; a request with a key that was used before makes nothing.

    Raises:
        Conflict: the key was used with another request.
    """
    key, workspace_id = request.headers.get("Idempotency-Key"), caller().workspace_id
    with transaction() as session:
        earlier = None if key is None else idempotency.begin(session, workspace_id, key, request.get_data())
        if earlier is not None:
            return earlier.body, earlier.status
        body = make(session)
        if key is not None:
            idempotency.remember(session, workspace_id, key, status, body)
    return body, status
