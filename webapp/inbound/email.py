"""What comes back of e-mails: a gateway's callbacks, and mail that a mail server returned.

`X-Signature-256: sha256=<hex>` over the raw body, with the channel's callback secret. 200 only after the request is
committed; 401 stores nothing; 503 asks to send it again.
"""

import uuid

from flask import Blueprint, Response, request

from crm_tasks.core import metrics
from crm_tasks.core.db import transaction
from crm_tasks.core.log import get_logger, rarely
from crm_tasks.messages.service import ingest
from crm_tasks.providers import registry
from crm_tasks.providers.provider import Callback
from crm_tasks.workspaces import service as workspaces
from crm_tasks.workspaces.models import Channel

log = get_logger(__name__)
blueprint = Blueprint("email", __name__)


@blueprint.post("/email/<uuid:channel_id>")
def callback(channel_id: uuid.UUID) -> Response:
    """Keep what a gateway tells."""
    return _keep(channel_id, ingest.EMAIL)


@blueprint.post("/email/<uuid:channel_id>/dsn")
def returned(channel_id: uuid.UUID) -> Response:
    """Keep a mail (`message/rfc822`) that came to the return path: a bounce, a complaint, or an answer of a machine."""
    return _keep(channel_id, ingest.RETURNED)


def _keep(channel_id: uuid.UUID, what: str) -> Response:
    body = request.get_data(cache=False)
    if not _genuine(channel_id, Callback(request.url, dict(request.headers), body)):
        metrics.count("webhook_rejected")
        if rarely("webhook.rejected"):
            log.warning("webhook.rejected", bytes=len(body))
        return Response("bad signature", 401, content_type="text/plain")
    ingest.store(what, body, [str(channel_id)])
    return Response("ok", content_type="text/plain")


def _genuine(channel_id: uuid.UUID, given: Callback) -> bool:
    with transaction() as session:
        channel = session.get(Channel, channel_id)
        if channel is None:
            return False
        provider, sender = registry.provider(channel.kind), workspaces.sender(channel)
    return provider.medium == "email" and provider.verify is not None and provider.verify(sender, given)
