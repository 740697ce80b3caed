"""A business that writes e-mails."""

import uuid
from dataclasses import dataclass
from typing import Any

import crm_tasks.celery  # noqa: F401  its tasks are what can be enqueued
from crm_tasks.core import db
from crm_tasks.email.service import accept, receive
from crm_tasks.messages.models import Category, Message, MessageState
from crm_tasks.messages.service import ingest, results
from crm_tasks.messages.service.outbox import NewMessage
from crm_tasks.providers.provider import Accepted
from crm_tasks.workspaces import service as workspaces

SECRET = "callback-secret"
ANN = "ann@example.net"


@dataclass(frozen=True, slots=True)
class Shop:
    """A workspace, its channel of kind `smtp`, and a key."""

    workspace_id: uuid.UUID
    channel_id: uuid.UUID
    api_key: str


def make_shop(*, port: int = 9, name: str = "Shop & Co", **values: Any) -> Shop:
    """Make a workspace with one channel."""
    own = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "from_address": "shop@example.com",
        "from_name": "The shop",
        "return_path": "bounces@example.com",
        "callback_secret": SECRET,
    }
    new = workspaces.NewChannel(kind="smtp", name="Mail", values=own | values)
    with db.transaction() as session:
        workspace = workspaces.create(session, name)
        channel = workspaces.add_channel(session, workspace.id, new)
        _, key = workspaces.create_key(session, workspace.id, "test", operator=True)
        return Shop(workspace.id, channel.id, key)


def post(shop: Shop, *, to: str = ANN, category: Category = Category.SERVICE, **content: Any) -> uuid.UUID:
    """Accept an e-mail."""
    words = {"subject": "Hello", "html": "<p>Hi</p>"} | content
    new = NewMessage(type="email", content=words, category=category)
    with db.transaction() as session:
        return accept.send_to(session, shop.workspace_id, shop.channel_id, to, new).id


def sent(shop: Shop, *, provider_id: str | None = None, **content: Any) -> uuid.UUID:
    """Return an e-mail that the mail server has taken, as if just sent."""
    message_id = post(shop, **content)
    with db.transaction() as session:
        session.get_one(Message, message_id).state = MessageState.SENDING
    with db.transaction() as session:
        results.record(session, message_id, Accepted(provider_id or str(message_id)))
    return message_id


def tell(shop: Shop, body: bytes) -> uuid.UUID:
    """Keep what came back as the door does, apply it as its worker does, and return the event."""
    event_id = ingest.store("smtp", body, [str(shop.channel_id)])
    db.retrying(receive.receive, event_id)
    return event_id
