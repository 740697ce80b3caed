"""What a workspace may stop by itself: what is its alone."""

import uuid

from sqlalchemy.orm import Session

from crm_tasks.core.errors import Forbidden
from crm_tasks.webhooks.service import endpoints
from crm_tasks.workspaces import service as workspaces


def scopes(session: Session, workspace_id: uuid.UUID) -> dict[str, str]:
    """Return the scopes of a workspace with their names: itself, its channels and webhook endpoints."""
    return {
        f"workspace:{workspace_id}": "Everything here",
        **{f"channel:{each.id}": f"Channel {each.name}" for each in workspaces.channels(session, workspace_id)},
        **{f"endpoint:{each.id}": f"Webhook {each.url}" for each in endpoints.listed(session, workspace_id)},
    }


def check(session: Session, workspace_id: uuid.UUID, scope: str) -> None:
    """Refuse a scope that others share.

    Raises:
        Forbidden: says which there are.
    """
    if scope.strip() not in scopes(session, workspace_id):
        raise Forbidden(
            f"{scope!r} is not this workspace's alone.",
            code="operator_only",
            hint="Use workspace:<your id>, channel: or endpoint:<one of yours>, or an operator's key.",
        )
