"""A workspace with all that can be set, and the pages of it."""

import uuid
from datetime import UTC, datetime, timedelta

from crm_tasks.core import calendar, db
from crm_tasks.messages.service import scheduled
from crm_tasks.schedule import ENTRIES
from crm_tasks.webhooks.service import endpoints
from crm_tasks.workspaces import policies
from tests.campaigns.audience import campaign
from tests.fixtures import Demo
from tests.messages.outgoing import post
from tests.templates.fetched import approved

ACTOR = "user:ann@example.test"


def later(demo: Demo, text: str, at: datetime) -> uuid.UUID:
    """Schedule a text, also for when the window will have closed: a text is accepted only before that."""
    message_id = post(demo, text, scheduled_for=datetime.now(UTC) + timedelta(hours=1))
    with db.transaction() as session:
        scheduled.move(session, message_id, at, actor="a test", workspace_id=demo.workspace_id)
    return message_id


def something_later(demo: Demo) -> None:
    """Schedule messages, a campaign and what recurs."""
    noon = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0)
    for days in (0, 0, 0, 1, 4):
        later(demo, "Your appointment is tomorrow at nine", noon + timedelta(days=days))
    campaign(demo, name="Spring sale", scheduled_for=noon + timedelta(days=1))
    with db.transaction() as session:
        calendar.plan(session, ENTRIES)


def set_up(demo: Demo) -> dict[str, str]:
    """Set what a workspace can set; return the pages of it."""
    long = "https://127.0.0.1:9/" + "a-long-way-down/" * 8
    with db.transaction() as session:
        policies.put(session, demo.workspace_id, "rate", {"rate": "20/m"}, actor=ACTOR)
        new = endpoints.NewEndpoint(url=long, events=["*"])
        endpoint = endpoints.add(session, demo.workspace_id, new, actor=ACTOR)
        delivery_id = endpoints.test(session, demo.workspace_id, endpoint.id)
        endpoint_id = endpoint.id
    template_id = approved(demo, "your_order_has_been_shipped_and_will_arrive_today")
    return {
        "settings": "/settings",
        "channels": "/settings/channels",
        "channel": f"/settings/channels/{demo.channel_id}",
        "new channel": "/settings/channels/new?kind=whatsapp",
        "templates": "/settings/templates",
        "template": f"/settings/templates/{template_id}",
        "rules": "/settings/rules",
        "webhooks": "/settings/webhooks",
        "new webhook": "/settings/webhooks/new",
        "webhook": f"/settings/webhooks/{endpoint_id}",
        "delivery": f"/settings/webhooks/deliveries/{delivery_id}",
        "keys": "/settings/keys",
    }
