"""`/api/v1/events`: webhook requests that were put aside, and their replay. For operators."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.core.db import transaction
from crm_tasks.messages.models import EventState, InboundEvent
from crm_tasks.messages.service import events
from webapp.api.paging import PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.api.shapes import EventOut, EventPage
from webapp.auth import caller, require_operator

blueprint = Blueprint("events", __name__, description="Raw webhook requests")


class EventArgs(PageArgs):
    """Which events."""

    state = ma.fields.String(
        load_default=EventState.QUARANTINED.value,
        validate=ma.validate.OneOf(list(EventState), error=f"Use one of: {', '.join(EventState)}."),
    )


@blueprint.route("/events")
@blueprint.arguments(EventArgs, location="query")
@blueprint.alt_response(200, schema=EventPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List webhook requests, by default those that could not be understood."""
    require_operator()
    before = decode(args["cursor"], uuid.UUID)
    limit = args["limit"]
    with transaction() as session:
        rows = events.listed(
            session, state=EventState(args["state"]), before=before[0] if before else None, limit=limit + 1
        )
        return page(rows, limit, _dump, lambda event: (event.id,))


@blueprint.route("/events/<uuid:event_id>/replay", methods=["POST"])
@blueprint.alt_response(202, schema=EventOut)
def replay(event_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    """Apply a quarantined request again."""
    require_operator()
    with transaction() as session:
        job_id = events.replay(session, event_id, actor=caller().name)
        return _dump(events.get(session, event_id)) | {"job_id": str(job_id)}, 202


def _dump(event: InboundEvent) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "received_at": event.received_at.isoformat(),
        "provider": event.provider,
        "state": event.state,
        "problem": event.problem,
        "workspace_id": str(event.workspace_id) if event.workspace_id else None,
        "body": event.body.decode("utf-8", "replace"),
    }
