"""Says of every request that may change something who makes it; `workspaces.audit` writes it down if it did."""

import uuid

from flask import Flask, request

from crm_tasks.workspaces import audit

_HARMLESS = ("GET", "HEAD", "OPTIONS")


def register(app: Flask) -> None:
    """What one request began ends with it: threads serve the next one."""
    app.teardown_request(lambda _error: audit.end())


def begin(actor: str, action: str, workspace_id: uuid.UUID | None) -> None:
    """Record what this request changes; of its path, not of its body."""
    if request.method in _HARMLESS:
        return
    named = {name: str(value) for name, value in (request.view_args or {}).items()}
    subject = next((value for name, value in named.items() if name.endswith("_id")), "")
    concerned = (request.view_args or {}).get("workspace_id", workspace_id)
    audit.begin(audit.Act(actor, action, concerned, subject, named))
