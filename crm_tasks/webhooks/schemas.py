"""Webhook endpoints and deliveries as JSON, both ways."""

from typing import Any

import marshmallow as ma

from crm_tasks.webhooks.models import EVERYTHING, Attempt, Delivery, Endpoint, EndpointState, EventType
from crm_tasks.webhooks.service.endpoints import MAX_CONCURRENCY, MAX_DESCRIPTION, MAX_RATE

_TYPES = f"{EVERYTHING} for all, or of: {', '.join(EventType)}"


class EndpointFields(ma.Schema):
    """What can be said of an endpoint."""

    url = ma.fields.String(
        metadata={"description": "Where to: https on port 443 or 8443, a public host", "format": "uri"},
    )
    events = ma.fields.List(
        ma.fields.String(),
        validate=ma.validate.Length(1, 50, error="Name 1 to 50 event types."),
        metadata={"description": _TYPES},
    )
    description = ma.fields.String(
        validate=ma.validate.Length(max=MAX_DESCRIPTION, error=f"Write at most {MAX_DESCRIPTION} characters.")
    )
    hub_signature = ma.fields.Boolean(metadata={"description": "Also sign with the older X-Hub-Signature-256"})
    rate = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, MAX_RATE, error=f"Use 1 to {MAX_RATE}."),
        metadata={"description": "Requests per second at most"},
    )
    concurrency = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, MAX_CONCURRENCY, error=f"Use 1 to {MAX_CONCURRENCY}."),
        metadata={"description": "Requests at once at most"},
    )


class NewEndpointSchema(EndpointFields):
    """An endpoint to add."""

    @ma.validates_schema
    def _needed(self, data: dict[str, Any], **_: Any) -> None:
        needed = {"url": "Write where to deliver, such as https://example.com/webhooks.", "events": f"Name {_TYPES}."}
        if missing := {name: [text] for name, text in needed.items() if name not in data}:
            raise ma.ValidationError(missing)


class EndpointChangeSchema(EndpointFields):
    """What to change of an endpoint; what is left out stays."""

    state = ma.fields.String(
        validate=ma.validate.OneOf(list(map(str, EndpointState)), error="Use enabled or disabled."),
        metadata={"description": "enabled forgets how it fared; disabled cancels what waits for it"},
    )


class EndpointOut(ma.Schema):
    """An endpoint. `secret` is only in the answer to making it and to rotating its secret."""

    id = ma.fields.UUID()
    url = ma.fields.String()
    description = ma.fields.String()
    events = ma.fields.List(ma.fields.String())
    state = ma.fields.String()
    state_since = ma.fields.AwareDateTime()
    disabled_reason = ma.fields.String(allow_none=True)
    hub_signature = ma.fields.Boolean()
    rate = ma.fields.Integer()
    concurrency = ma.fields.Integer()
    failures = ma.fields.Integer(metadata={"description": "Failures in a row"})
    failing_since = ma.fields.AwareDateTime(allow_none=True)
    rests_until = ma.fields.AwareDateTime(allow_none=True)
    previous_secret_until = ma.fields.AwareDateTime(
        allow_none=True, metadata={"description": "Until when the secret before this one is valid too"}
    )
    created_at = ma.fields.AwareDateTime()
    secret = ma.fields.String()


class DeliveryOut(ma.Schema):
    """An event on its way to one endpoint."""

    id = ma.fields.UUID()
    endpoint_id = ma.fields.UUID()
    event_id = ma.fields.UUID(metadata={"description": "The header webhook-id"})
    type = ma.fields.String()
    state = ma.fields.String()
    attempts = ma.fields.Integer()
    last_status = ma.fields.Integer(allow_none=True)
    last_error = ma.fields.String(allow_none=True)
    created_at = ma.fields.AwareDateTime()
    finished_at = ma.fields.AwareDateTime(allow_none=True)
    job_id = ma.fields.UUID(allow_none=True)


class AttemptOut(ma.Schema):
    """One request and what came of it."""

    at = ma.fields.AwareDateTime()
    status = ma.fields.Integer(allow_none=True)
    latency_ms = ma.fields.Integer()
    excerpt = ma.fields.String(allow_none=True, metadata={"description": "The first 1 kB of the answer"})
    error = ma.fields.String(allow_none=True)


class DeliveryDetailOut(DeliveryOut):
    """A delivery with what was sent and every attempt."""

    body = ma.fields.String(metadata={"description": "What is sent and signed, byte for byte"})
    log = ma.fields.List(ma.fields.Nested(AttemptOut))


_ENDPOINT, _SECRET = EndpointOut(exclude=["secret"]), EndpointOut(only=["secret"])
_DELIVERY, _ATTEMPTS = DeliveryOut(), AttemptOut(many=True)


def dump_endpoint(endpoint: Endpoint, *, secret: bool = False) -> dict[str, Any]:
    """Return an endpoint as JSON; with its secret only where that is new."""
    return _ENDPOINT.dump(endpoint) | (_SECRET.dump(endpoint) if secret else {})


def dump_delivery(row: tuple[Delivery, str]) -> dict[str, Any]:
    """Return a delivery, with the type of its event, as JSON."""
    delivery, type = row
    return _DELIVERY.dump(delivery) | {"type": type}


def dump_detail(row: tuple[Delivery, str], body: bytes, attempts: list[Attempt]) -> dict[str, Any]:
    """Return a delivery with all that is known of it as JSON."""
    return dump_delivery(row) | {"body": body.decode(), "log": _ATTEMPTS.dump(attempts)}
