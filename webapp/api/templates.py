"""`/api/v1/templates`: what the provider has approved, and what each template wants to be filled in."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.templates import service as templates
from crm_tasks.templates.schemas import TemplateOut, dump_template
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("templates", __name__, description="Message templates")


class TemplateArgs(PageArgs):
    """Which templates."""

    name = ma.fields.String(load_default=None)
    status = ma.fields.String(
        load_default=None, metadata={"description": "As the provider says it, such as APPROVED; DELETED only if asked"}
    )
    category = ma.fields.String(load_default=None)
    language = ma.fields.String(load_default=None)


class TemplatePage(Envelope):
    """A page of templates."""

    data = ma.fields.List(ma.fields.Nested(TemplateOut))


class SyncIn(ma.Schema):
    """Whose templates; without a channel, those of every channel."""

    channel_id = ma.fields.UUID(load_default=None, error_messages={"invalid_uuid": "This is not a channel's id."})


class SyncOut(ma.Schema):
    """The jobs that fetch them, one per business account."""

    job_ids = ma.fields.List(ma.fields.UUID())


@blueprint.route("/templates")
@blueprint.arguments(TemplateArgs, location="query")
@blueprint.alt_response(200, schema=TemplatePage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List templates by name and language."""
    after = decode(args.pop("cursor"), str, str, uuid.UUID)
    limit = args.pop("limit")
    with transaction() as session:
        rows = templates.listed(session, caller().workspace_id, **args, after=after, limit=limit + 1)
    return page(rows, limit, dump_template, lambda row: (row.name, row.language, row.id))


@blueprint.route("/templates/<uuid:template_id>")
@blueprint.alt_response(200, schema=TemplateOut)
def get(template_id: uuid.UUID) -> dict[str, Any]:
    """Look at a template."""
    with transaction() as session:
        return dump_template(templates.get(session, caller().workspace_id, template_id))


@blueprint.route("/templates/sync", methods=["POST"])
@blueprint.arguments(SyncIn)
@blueprint.alt_response(202, schema=SyncOut)
def sync(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Fetch the templates from the provider; the jobs say how that goes."""
    with transaction() as session:
        jobs = templates.ask_sync_of(session, caller().workspace_id, body["channel_id"])
    return {"job_ids": [str(job) for job in jobs]}, 202
