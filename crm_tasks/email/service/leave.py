"""Leaving a list: one click or one button, as often as one likes, with what proves it."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.contacts import suppression
from crm_tasks.contacts.models import SuppressionScope
from crm_tasks.core.errors import NotFound
from crm_tasks.providers.mail import unsubscribe
from crm_tasks.providers.mail.unsubscribe import Leaving
from crm_tasks.workspaces import service as workspaces


def who(session: Session, token: str) -> tuple[Leaving, str]:
    """Return who is meant by a link, and the name of the business.

    Raises:
        NotFound: the link is not one of ours, or the business is gone.
    """
    leaving = unsubscribe.read(token)
    if leaving is None:
        raise NotFound("This link is not valid.", code="bad_link")
    return leaving, workspaces.get(session, leaving.workspace_id).name


def unsubscribed(session: Session, token: str, *, how: str, evidence: Mapping[str, Any]) -> tuple[Leaving, str]:
    """Take a person off the list that a link names, and return who and from whom.

    Args:
        how: `one_click` for the button of a mail program, `page` for ours.

    Raises:
        NotFound: the link is not one of ours, or the business is gone.
    """
    leaving, name = who(session, token)
    suppression.suppress(
        session,
        leaving.workspace_id,
        leaving.address,
        medium="email",
        scope=SuppressionScope.MARKETING,
        reason=how,
        actor="reader",
        evidence={"message_id": _text(leaving.message_id), "contact_id": _text(leaving.contact_id), **evidence},
    )
    return leaving, name


def _text(value: uuid.UUID | None) -> str | None:
    return str(value) if value else None
