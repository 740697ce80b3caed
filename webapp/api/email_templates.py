"""`/api/v1/email-templates`: subjects, pages and texts with places for values."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.email.models import EmailTemplate
from crm_tasks.email.service import templates
from crm_tasks.providers.mail.render import MAX_TEMPLATE
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("email_templates", __name__, description="Templates of e-mails")
_SIZE = ma.validate.Length(max=MAX_TEMPLATE, error=f"At most {MAX_TEMPLATE // 1024} kB.")


class EmailTemplateChange(ma.Schema):
    """What to change. Values stand in double braces: `{{ name }}`; HTML escapes them."""

    name = ma.fields.String(validate=ma.validate.Length(1, 200))
    subject = ma.fields.String(validate=ma.validate.Length(1, 998))
    html = ma.fields.String(validate=_SIZE)
    text = ma.fields.String(validate=_SIZE)


class NewEmailTemplate(EmailTemplateChange):
    """A template to keep."""

    name = ma.fields.String(required=True, validate=ma.validate.Length(1, 200))
    subject = ma.fields.String(required=True, validate=ma.validate.Length(1, 998))


class EmailTemplateOut(ma.Schema):
    """A template."""

    id = ma.fields.UUID()
    name = ma.fields.String()
    subject = ma.fields.String()
    html = ma.fields.String()
    text = ma.fields.String()
    created_at = ma.fields.AwareDateTime()
    changed_at = ma.fields.AwareDateTime()


class EmailTemplatePage(Envelope):
    """A page of templates."""

    data = ma.fields.List(ma.fields.Nested(EmailTemplateOut))


class EmailPreviewIn(ma.Schema):
    """Values to try a template with."""

    variables = ma.fields.Dict(keys=ma.fields.String(), load_default=dict)


class EmailPreviewOut(ma.Schema):
    """How a template looks with these values."""

    subject = ma.fields.String()
    html = ma.fields.String()
    text = ma.fields.String()


_TEMPLATE = EmailTemplateOut()


@blueprint.route("/email-templates")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=EmailTemplatePage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List templates, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    with transaction() as session:
        rows = templates.listed(
            session, caller().workspace_id, before=before[0] if before else None, limit=args["limit"] + 1
        )
        return page(rows, args["limit"], _dump, lambda template: (template.id,))


@blueprint.route("/email-templates", methods=["POST"])
@blueprint.arguments(NewEmailTemplate)
@blueprint.alt_response(201, schema=EmailTemplateOut)
def create(new: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Keep a template. One that cannot be rendered is refused, with the line."""
    with transaction() as session:
        return _dump(templates.create(session, caller().workspace_id, **new)), 201


@blueprint.route("/email-templates/<uuid:template_id>")
@blueprint.alt_response(200, schema=EmailTemplateOut)
def get(template_id: uuid.UUID) -> dict[str, Any]:
    """Look at a template."""
    with transaction() as session:
        return _dump(templates.get(session, caller().workspace_id, template_id))


@blueprint.route("/email-templates/<uuid:template_id>", methods=["PATCH"])
@blueprint.arguments(EmailTemplateChange)
@blueprint.alt_response(200, schema=EmailTemplateOut)
def change(values: dict[str, Any], template_id: uuid.UUID) -> dict[str, Any]:
    """Change a template. Messages that were accepted before keep their words."""
    with transaction() as session:
        return _dump(templates.change(session, caller().workspace_id, template_id, **values))


@blueprint.route("/email-templates/<uuid:template_id>", methods=["DELETE"])
@blueprint.alt_response(204, description="It is gone")
def delete(template_id: uuid.UUID) -> tuple[str, int]:
    """Forget a template."""
    with transaction() as session:
        templates.delete(session, caller().workspace_id, template_id)
    return "", 204


@blueprint.route("/email-templates/<uuid:template_id>/preview", methods=["POST"])
@blueprint.arguments(EmailPreviewIn)
@blueprint.alt_response(200, schema=EmailPreviewOut)
def preview(body: dict[str, Any], template_id: uuid.UUID) -> dict[str, str]:
    """Show how a template looks with values. What is missing is named with its line."""
    with transaction() as session:
        template = templates.get(session, caller().workspace_id, template_id)
    return templates.filled(template, body["variables"])


def _dump(template: EmailTemplate) -> dict[str, Any]:
    return _TEMPLATE.dump(template)
