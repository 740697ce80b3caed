"""`/api/v1/segments`: conditions under a name, how many meet them, and who."""

import uuid
from typing import Any

import marshmallow as ma

from crm_tasks.contacts import segments
from crm_tasks.contacts.schemas import NewSegment, SegmentChange, SegmentOut
from crm_tasks.core.db import transaction
from webapp.api.contacts import ContactPage, found
from webapp.api.once import DOCUMENTED, once
from webapp.api.paging import Envelope, PageArgs, decode, page
from webapp.api.reading import Blueprint
from webapp.auth import caller

blueprint = Blueprint("segments", __name__, description="Segments of contacts")


class SegmentPage(Envelope):
    """A page of segments."""

    data = ma.fields.List(ma.fields.Nested(SegmentOut))


class ConditionsIn(ma.Schema):
    """Conditions that need not be kept."""

    conditions = ma.fields.Dict(required=True)


class CountOut(ma.Schema):
    """How many contacts meet the conditions, as it was within the last five minutes."""

    count = ma.fields.Integer()


_OUT = SegmentOut()


@blueprint.route("/segments")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=SegmentPage)
def listed(args: dict[str, Any]) -> dict[str, Any]:
    """List segments, the newest first."""
    before = decode(args["cursor"], uuid.UUID)
    with transaction() as session:
        rows = segments.listed(
            session, caller().workspace_id, before=before[0] if before else None, limit=args["limit"] + 1
        )
        return page(rows, args["limit"], _OUT.dump, lambda segment: (segment.id,))


@blueprint.route("/segments", methods=["POST"])
@blueprint.doc(parameters=DOCUMENTED)
@blueprint.arguments(NewSegment)
@blueprint.alt_response(201, schema=SegmentOut)
def create(new: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Keep conditions under a name."""
    return once(lambda session: _OUT.dump(segments.create(session, caller().workspace_id, **new)), 201)


@blueprint.route("/segments/count", methods=["POST"])
@blueprint.arguments(ConditionsIn)
@blueprint.alt_response(200, schema=CountOut)
def count_unsaved(body: dict[str, Any]) -> dict[str, int]:
    """Count who meets conditions that are not kept."""
    with transaction() as session:
        return {"count": segments.count(session, caller().workspace_id, body["conditions"])}


@blueprint.route("/segments/<uuid:segment_id>")
@blueprint.alt_response(200, schema=SegmentOut)
def get(segment_id: uuid.UUID) -> dict[str, Any]:
    """Look at a segment."""
    with transaction() as session:
        return _OUT.dump(segments.get(session, caller().workspace_id, segment_id))


@blueprint.route("/segments/<uuid:segment_id>", methods=["PATCH"])
@blueprint.arguments(SegmentChange)
@blueprint.alt_response(200, schema=SegmentOut)
def change(values: dict[str, Any], segment_id: uuid.UUID) -> dict[str, Any]:
    """Give a segment another name or other conditions. Campaigns that are under way keep their recipients."""
    with transaction() as session:
        return _OUT.dump(segments.change(session, caller().workspace_id, segment_id, **values))


@blueprint.route("/segments/<uuid:segment_id>", methods=["DELETE"])
@blueprint.alt_response(204, description="It is gone; its contacts stay")
def delete(segment_id: uuid.UUID) -> tuple[str, int]:
    """Forget a segment."""
    with transaction() as session:
        segments.delete(session, caller().workspace_id, segment_id)
    return "", 204


@blueprint.route("/segments/<uuid:segment_id>/count")
@blueprint.alt_response(200, schema=CountOut)
def count(segment_id: uuid.UUID) -> dict[str, int]:
    """Count who is in a segment."""
    workspace_id = caller().workspace_id
    with transaction() as session:
        segment = segments.get(session, workspace_id, segment_id)
        return {"count": segments.count(session, workspace_id, segment.conditions)}


@blueprint.route("/segments/<uuid:segment_id>/contacts")
@blueprint.arguments(PageArgs, location="query")
@blueprint.alt_response(200, schema=ContactPage)
def contacts(args: dict[str, Any], segment_id: uuid.UUID) -> dict[str, Any]:
    """List who is in a segment, the newest first."""
    workspace_id = caller().workspace_id
    with transaction() as session:
        segment = segments.get(session, workspace_id, segment_id)
        return found(session, args, conditions=[segments.compile(session, workspace_id, segment.conditions)])
