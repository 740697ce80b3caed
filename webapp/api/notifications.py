"""`/api/v1/notifications`: what people should know, and who is told of it by e-mail or webhook."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.notifications import service, targets
from crm_tasks.notifications.models import Severity, TargetKind
from crm_tasks.notifications.schemas import (
    NotificationOut,
    TargetChange,
    TargetIn,
    TargetMade,
    TargetOut,
)
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller, require_operator

blueprint = Blueprint("notifications", __name__, description="Notifications, and who is told of them")
_NOTIFICATION, _TARGET, _MADE = NotificationOut(), TargetOut(), TargetMade()


class NotificationArgs(PageArgs):
    """Which notifications."""

    unread = ma.fields.Boolean(load_default=False, metadata={"description": "Only those that nobody has read"})


class NotificationPage(Envelope):
    """A page of notifications."""

    data = ma.fields.List(ma.fields.Nested(NotificationOut))
    unread = ma.fields.Integer(metadata={"description": "How many nobody has read, on all pages"})


class TargetPage(Envelope):
    """The targets."""

    data = ma.fields.List(ma.fields.Nested(TargetOut))


class ReadOut(ma.Schema):
    """How many were marked as read."""

    read = ma.fields.Integer(required=True)


class ReadIn(ma.Schema):
    """Up to which."""

    up_to = ma.fields.UUID(load_default=None, metadata={"description": "The newest that was seen; later ones stay"})


class WhoseArgs(ma.Schema):
    """Whose targets."""

    operators = ma.fields.Boolean(load_default=False, metadata={"description": "Those of the operators"})


@blueprint.route("/notifications")
@blueprint.arguments(NotificationArgs, location="query")
@blueprint.alt_response(200, schema=NotificationPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List notifications, the newest first. An operator's key sees all."""
    before, limit, sees = decode(args["cursor"], uuid.UUID), args["limit"], caller().sees
    with transaction() as session:
        rows = service.listed(
            session,
            workspace_id=sees,
            unread=args["unread"],
            before=before[0] if before else None,
            limit=limit + 1,
        )
        found = page(rows, limit, _NOTIFICATION.dump, lambda row: (row.id,))
        return found | {"unread": service.unread_count(session, workspace_id=sees)}


@blueprint.route("/notifications/<uuid:notification_id>/read", methods=["POST"])
@blueprint.alt_response(200, schema=NotificationOut)
def read(notification_id: uuid.UUID) -> dict[str, Any]:
    """Mark one as read."""
    with transaction() as session:
        return _NOTIFICATION.dump(service.read(session, notification_id, workspace_id=caller().sees))


@blueprint.route("/notifications/read", methods=["POST"])
@blueprint.arguments(ReadIn, required=False)
@blueprint.alt_response(200, schema=ReadOut)
def read_all(body: dict[str, Any]) -> dict[str, int]:
    """Mark all as read, or those up to one."""
    with transaction() as session:
        return {"read": service.read_all(session, workspace_id=caller().sees, up_to=body["up_to"])}


@blueprint.route("/notifications/targets")
@blueprint.arguments(WhoseArgs, location="query")
@blueprint.alt_response(200, schema=TargetPage)
def list_targets(args: dict[str, Any]) -> dict[str, Any]:
    """List who is told."""
    whose = _whose(operators=args["operators"])
    with transaction() as session:
        return {"data": [_TARGET.dump(target) for target in targets.listed(session, whose)], "next": None}


@blueprint.route("/notifications/targets", methods=["POST"])
@blueprint.arguments(TargetIn)
@blueprint.alt_response(201, schema=TargetMade)
def add_target(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Tell somebody. The answer has the secret that a webhook is signed with, this once."""
    whose = _whose(operators=body["operators"])
    with transaction() as session:
        target = targets.add(
            session,
            whose,
            kind=TargetKind(body["kind"]),
            address=body["address"],
            minimum_severity=Severity(body["minimum_severity"]),
            enabled=body["enabled"],
        )
        return _MADE.dump(target), 201


@blueprint.route("/notifications/targets/<uuid:target_id>")
@blueprint.alt_response(200, schema=TargetOut)
def get_target(target_id: uuid.UUID) -> dict[str, Any]:
    """Look at a target."""
    me = caller()
    with transaction() as session:
        return _TARGET.dump(targets.get(session, target_id, workspace_id=me.workspace_id, operator=me.operator))


@blueprint.route("/notifications/targets/<uuid:target_id>", methods=["PATCH"])
@blueprint.arguments(TargetChange)
@blueprint.alt_response(200, schema=TargetOut)
def change_target(body: dict[str, Any], target_id: uuid.UUID) -> dict[str, Any]:
    """Change from which severity on a target is told, or whether at all."""
    me = caller()
    severity = body["minimum_severity"]
    with transaction() as session:
        target = targets.get(session, target_id, workspace_id=me.workspace_id, operator=me.operator)
        targets.change(target, minimum_severity=severity and Severity(severity), enabled=body["enabled"])
        return _TARGET.dump(target)


@blueprint.route("/notifications/targets/<uuid:target_id>", methods=["DELETE"])
@blueprint.alt_response(204, description="It is gone")
def remove_target(target_id: uuid.UUID) -> tuple[str, int]:
    """Tell a target no more."""
    me = caller()
    with transaction() as session:
        session.delete(targets.get(session, target_id, workspace_id=me.workspace_id, operator=me.operator))
    return "", 204


def _whose(*, operators: bool) -> uuid.UUID | None:
    if not operators:
        return caller().workspace_id
    require_operator()
    return None
