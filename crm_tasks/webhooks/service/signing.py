"""Signatures: Standard Webhooks 1.0.0 over id, time and body; on request also that of older receivers."""

import hashlib
import hmac
import secrets
import uuid
from base64 import b64encode
from datetime import UTC, datetime

from standardwebhooks import Webhook

from crm_tasks.webhooks.models import Endpoint

PREFIX = "whsec_"
# Source: Standard Webhooks 1.0.0, "Signature scheme": 24 to 64 random bytes.
_BYTES = 32


def new_secret() -> str:
    """Return a new secret of an endpoint."""
    return PREFIX + b64encode(secrets.token_bytes(_BYTES)).decode()


def headers(endpoint: Endpoint, event_id: uuid.UUID, body: bytes, at: datetime) -> dict[str, str]:
    """Return the headers of one attempt. The id is the event's in all of them: receivers know by it what they had.

    While a secret is exchanged there are two signatures; a receiver takes either.
    """
    at, text = at.astimezone(UTC), body.decode()
    signatures = [Webhook(secret).sign(str(event_id), at, text) for secret in _valid(endpoint, at)]
    made = {
        "Content-Type": "application/json",
        "webhook-id": str(event_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    if endpoint.hub_signature:
        digest = hmac.new(endpoint.secret.encode(), body, hashlib.sha256).hexdigest()
        made["X-Hub-Signature-256"] = f"sha256={digest}"
    return made


def _valid(endpoint: Endpoint, at: datetime) -> list[str]:
    until = endpoint.previous_secret_until
    if endpoint.previous_secret is None or until is None or until <= at:
        return [endpoint.secret]
    return [endpoint.secret, endpoint.previous_secret]
