"""Mails to try things with."""

import uuid
from datetime import UTC, datetime
from typing import Any

from crm_tasks.providers.mail import compose
from crm_tasks.providers.mail.compose import Composed, Mail

ID = uuid.UUID("0191e2a0-1111-7222-8333-444455556666")


def mail(**changes: Any) -> Mail:
    """Return a mail that is right, but for these changes."""
    right: dict[str, Any] = {
        "message_id": ID,
        "at": datetime(2026, 11, 22, 6, tzinfo=UTC),
        "sender": "shop@example.com",
        "to": "ann@example.net",
        "subject": "Hello",
        "html": "<p>Hi</p>",
    }
    return Mail(**(right | changes))


def composed(**changes: Any) -> Composed:
    """Return it as it goes over the wire."""
    return compose.compose(mail(**changes))
