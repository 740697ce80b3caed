"""The message sent to oneself before anybody else gets it."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crm_tasks.campaigns.service import composing, rendering, states, verdicts
from crm_tasks.contacts import service as contacts
from crm_tasks.core.db import now
from crm_tasks.email.service import accept as email
from crm_tasks.messages.models import Message
from crm_tasks.messages.service import outbox
from crm_tasks.messages.service.look import prospects
from crm_tasks.providers import registry
from crm_tasks.workspaces import service as workspaces


def send(session: Session, workspace_id: uuid.UUID, campaign_id: uuid.UUID, to: str) -> Message:
    """Send a campaign's message to somebody on trial, with the values of that person; what is missing is named.

    Raises:
        NotFound: no such campaign here. Invalid: not a recipient. Conflict: the 24-hour window is closed.
    """
    campaign = states.get(session, workspace_id, campaign_id)
    channel = workspaces.channel(session, workspace_id, campaign.channel_id)
    names = outbox.recipient(session, workspace_id, registry.provider(channel.kind), to)
    contact_id = contacts.resolve(session, workspace_id, names, at=session.scalars(sa.select(now())).one())
    category = composing.category(session, channel, campaign)
    looks = prospects(
        session, channel.id, [contact_id], type=campaign.type, content=campaign.content, category=category, author="api"
    )
    person = verdicts.people(session, looks)[contact_id]
    content = rendering.sample(campaign.content, person)
    new = outbox.NewMessage(type=campaign.type, content=content, category=category)
    send_to = email.send_to if campaign.type == email.TYPE else outbox.send_to
    return send_to(session, workspace_id, channel.id, to, new)
