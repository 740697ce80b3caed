"""Callbacks of SMS and e-mail providers, each at the address of its channel: `/webhooks/<medium>/<channel id>`.

As with WhatsApp's: 200 only after the request is committed, 401 stores nothing, 503 makes the provider send it again.
"""

import uuid

from flask import Blueprint, Response, request
from requests.structures import CaseInsensitiveDict
from sqlalchemy.orm import Session

from crm_tasks.config import settings
from crm_tasks.core import db, metrics
from crm_tasks.core.errors import NotFound
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.messages.service import ingest
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Callback, Provider, Sender
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)
blueprint = Blueprint("callbacks", __name__)


@blueprint.post("/<any(sms, email):medium>/<uuid:channel_id>")
@blueprint.post("/<any(email):medium>/<uuid:channel_id>/dsn")
def receive(medium: str, channel_id: uuid.UUID) -> Response:
    """Keep one request."""
    found = db.retrying(_channel, medium, channel_id)
    if found is None:
        raise NotFound("There is no channel here that takes callbacks.", code="channel_not_found")
    provider, sender = found
    body = request.get_data(cache=False)
    callback = Callback(_url(), CaseInsensitiveDict(request.headers.items()), body)
    if provider.verify is None or not provider.verify(sender, callback):
        metrics.count("webhook_rejected")
        if rarely("webhook.rejected"):
            log.warning("webhook.rejected", kind=provider.kind, channel_id=str(channel_id), bytes=len(body))
        return Response(status=401)
    ingest.store(provider.kind, body, [str(channel_id)])
    # Without a body: what Twilio gets as an answer to a text, it sends on to the person.
    return Response(status=200)


def _channel(session: Session, medium: str, channel_id: uuid.UUID) -> tuple[Provider, Sender] | None:
    channel = session.get(Channel, channel_id)
    if channel is None:
        return None
    provider = registry.provider(channel.kind)
    if provider.medium != medium or provider.parse is None:
        return None
    return provider, workspaces.sender(channel)


def _url() -> str:
    """Return the address that the provider was told to call, which a signature may be over; a proxy may differ."""
    query = request.environ.get("QUERY_STRING", "")
    return settings().outside_url + request.script_root + request.path + (f"?{query}" if query else "")
