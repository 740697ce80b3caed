"""The picker of templates in a conversation: which may be sent, what the chosen one wants, and how it then reads."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from crm_tasks.templates import service as templates
from crm_tasks.templates.models import Template
from crm_tasks.workspaces.models import Channel
from webapp.admin import campaign_fields
from webapp.admin.templates import chosen

Given = Mapping[str, str]


def shown(session: Session, channel: Channel, given: Given) -> dict[str, Any]:
    """Return the templates that may be sent, the one that was chosen, its places, and how it reads."""
    found = chosen(session, channel, given)
    return {
        "templates": templates.sendable(session, channel),
        "template": found,
        "places": campaign_fields.places(found) if found else [],
        "laid": templates.laid(found, content(given, found)["components"]) if found else None,
        "medium": "whatsapp",
        "given": given,
    }


def content(given: Given, template: Template) -> dict[str, Any]:
    """Return what a message of this template says, as the API would be asked."""
    return campaign_fields.message({**given, "type": "template"}, template, {})["template"]
