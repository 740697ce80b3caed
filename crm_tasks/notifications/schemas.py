"""Notifications and their targets as JSON."""

import marshmallow as ma

from crm_tasks.notifications.models import Severity, TargetKind

_SEVERITY = ma.validate.OneOf([str(each) for each in Severity], error=f"Use one of: {', '.join(Severity)}.")


class NotificationOut(ma.Schema):
    """Something people should know; `count` is how often it happened since it was last read."""

    id = ma.fields.UUID()
    workspace_id = ma.fields.UUID(allow_none=True)
    kind = ma.fields.String()
    subject = ma.fields.String()
    severity = ma.fields.String()
    title = ma.fields.String()
    text = ma.fields.String()
    link = ma.fields.String(allow_none=True)
    count = ma.fields.Integer()
    first_at = ma.fields.AwareDateTime()
    last_at = ma.fields.AwareDateTime()
    read_at = ma.fields.AwareDateTime(allow_none=True)


class TargetIn(ma.Schema):
    """Whom to tell."""

    kind = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf([str(each) for each in TargetKind], error=f"Use one of: {', '.join(TargetKind)}."),
        error_messages={"required": f"Say how: {' or '.join(TargetKind)}."},
    )
    address = ma.fields.String(
        required=True,
        validate=ma.validate.Length(1, 2000, error="Write 1 to 2000 characters."),
        error_messages={"required": "Write an e-mail address, or the URL of a webhook."},
    )
    minimum_severity = ma.fields.String(load_default=str(Severity.WARNING), validate=_SEVERITY)
    enabled = ma.fields.Boolean(load_default=True)
    operators = ma.fields.Boolean(
        load_default=False, metadata={"description": "Tell of what concerns the operators; needs an operator's key"}
    )


class TargetChange(ma.Schema):
    """What to change of a target."""

    minimum_severity = ma.fields.String(load_default=None, validate=_SEVERITY)
    enabled = ma.fields.Boolean(load_default=None)


class TargetOut(ma.Schema):
    """Who is told."""

    id = ma.fields.UUID()
    workspace_id = ma.fields.UUID(allow_none=True)
    kind = ma.fields.String()
    address = ma.fields.String()
    minimum_severity = ma.fields.String()
    enabled = ma.fields.Boolean()
    created_at = ma.fields.AwareDateTime()


class TargetMade(TargetOut):
    """A new target, with the secret of a webhook, which nobody can read again."""

    secret = ma.fields.String(allow_none=True)
