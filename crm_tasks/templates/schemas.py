"""Templates as JSON."""

from typing import Any

import marshmallow as ma

from crm_tasks.templates.models import Template


class TemplateOut(ma.Schema):
    """A template. `parameters` says what a message must fill in; only what is `sendable` is accepted."""

    id = ma.fields.UUID()
    waba_id = ma.fields.String()
    provider_id = ma.fields.String(allow_none=True)
    name = ma.fields.String()
    language = ma.fields.String()
    category = ma.fields.String()
    status = ma.fields.String()
    sendable = ma.fields.Boolean()
    quality = ma.fields.String(allow_none=True)
    reason = ma.fields.String(allow_none=True)
    components = ma.fields.List(ma.fields.Dict())
    parameter_format = ma.fields.String()
    parameters = ma.fields.Dict()
    synced_at = ma.fields.AwareDateTime()
    created_at = ma.fields.AwareDateTime()


_TEMPLATE = TemplateOut()


def dump_template(template: Template) -> dict[str, Any]:
    """Return a template as JSON."""
    return _TEMPLATE.dump(template)
