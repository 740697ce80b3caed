"""Imports every room's models, so that Alembic and the mappers know all tables."""

from crm_tasks.campaigns import models as campaigns
from crm_tasks.contacts import models as contacts
from crm_tasks.core import idempotency
from crm_tasks.core.db import Base
from crm_tasks.core.jobs import model as jobs
from crm_tasks.core.pace import learned as pace
from crm_tasks.email import models as email
from crm_tasks.exports import models as exports
from crm_tasks.imports import bulk_models as bulk
from crm_tasks.imports import models as imports
from crm_tasks.media import models as media
from crm_tasks.messages import models as messages
from crm_tasks.notifications import models as notifications
from crm_tasks.templates import models as templates
from crm_tasks.webhooks import models as webhooks
from crm_tasks.workspaces import models as workspaces

__all__ = [
    "Base",
    "bulk",
    "campaigns",
    "contacts",
    "email",
    "exports",
    "idempotency",
    "imports",
    "jobs",
    "media",
    "messages",
    "notifications",
    "pace",
    "templates",
    "webhooks",
    "workspaces",
]
