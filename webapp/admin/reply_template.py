"""The picker of templates in a conversation: which may be sent, what the chosen one wants, and how it then reads."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.core.errors import NotFound
from crm_tasks.templates import service as templates
from crm_tasks.templates.models import APPROVED, Template
from crm_tasks.workspaces.models import Channel
from webapp.admin import campaign_fields

MOST = 200
Given = Mapping[str, str]


def shown(session: Session, channel: Channel, given: Given) -> dict[str, Any]:
    """Return the templates that may be sent, the one that was chosen, its places, and how it reads."""
    found = chosen(session, channel, given)
    listed = templates.listed(session, channel.workspace_id, status=APPROVED, limit=MOST)
    return {
        "templates": [each for each in listed if each.waba_id == channel.waba_id],
        "template": found,
        "places": campaign_fields.places(found) if found else [],
        "laid": templates.laid(found, content(given, found)["components"]) if found else None,
        "medium": "whatsapp",
        "given": given,
    }


def chosen(session: Session, channel: Channel, given: Given) -> Template | None:
    """Return the template that was chosen, if it is one of this channel's."""
    try:
        found = templates.get(session, channel.workspace_id, uuid.UUID(given.get("template", "")))
    except (ValueError, NotFound):
        return None
    return found if found.waba_id == channel.waba_id else None


def content(given: Given, template: Template) -> dict[str, Any]:
    """Return what a message of this template says, as the API would be asked."""
    return campaign_fields.message({**given, "type": "template"}, template, {})["template"]
