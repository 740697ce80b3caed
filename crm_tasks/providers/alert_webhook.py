"""Notifications as webhooks: signed as Standard Webhooks 1.0.0 says, so that its libraries verify them."""

from datetime import UTC, datetime
from typing import Any

import orjson
from standardwebhooks import Webhook

from crm_tasks.core.errors import Transient
from crm_tasks.providers import outbound


def post(url: str, body: dict[str, Any], *, secret: str, message_id: str) -> None:
    """Post one notification.

    Args:
        secret: `whsec_…`.
        message_id: the same for every try, by which the receiver knows what it has had.

    Raises:
        Transient: not answered with 2xx.
    """
    raw = orjson.dumps(body)
    moment = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, raw.decode()),
    }
    reply = outbound.post(url, raw, headers)
    if reply.status is None:
        raise Transient(f"the webhook did not answer: {reply.error}", code="webhook_no_answer")
    if not reply.ok:
        raise Transient(f"the webhook answered {reply.status}", code=f"webhook_http_{reply.status}")
