"""Shapes of answers that only the document of the API needs: what is returned is made elsewhere."""

from typing import Any

import marshmallow as ma
from flask_smorest import Api

from crm_tasks.core.schemas import GroupOut, HoldOut
from crm_tasks.messages.contents.shapes import ByType
from webapp.api.paging import Envelope


def describe(api: Api) -> None:
    """Have the document show an object whose `type` says what is in it as the choice that it is."""

    def choice(converter: Any, field: ma.fields.Field, **_: Any) -> dict[str, Any]:
        if not isinstance(field, ByType):
            return {}
        return {"type": "object", "oneOf": [converter.resolve_nested_schema(schema) for schema in field.schemas()]}

    api.ma_plugin.converter.add_attribute_function(choice)


class FieldProblem(ma.Schema):
    """What is wrong with one field, and what to do."""

    field = ma.fields.String(required=True, metadata={"description": "Its name; nested ones with dots"})
    message = ma.fields.String(required=True)
    code = ma.fields.String(required=True)


class Problem(ma.Schema):
    """What was wrong. `code` is stable; `hint` and the fields say what to do."""

    code = ma.fields.String(required=True)
    message = ma.fields.String(required=True)
    hint = ma.fields.String()
    fields_ = ma.fields.List(ma.fields.Nested(FieldProblem), data_key="fields")
    request_id = ma.fields.UUID()


class ErrorOut(ma.Schema):
    """Every error."""

    error = ma.fields.Nested(Problem, required=True)


class HoldPage(Envelope):
    """The holds."""

    data = ma.fields.List(ma.fields.Nested(HoldOut))


class GroupPage(Envelope):
    """Dead letters by cause."""

    data = ma.fields.List(ma.fields.Nested(GroupOut))


class EventOut(ma.Schema):
    """A webhook request as it came."""

    id = ma.fields.UUID()
    received_at = ma.fields.AwareDateTime()
    provider = ma.fields.String()
    state = ma.fields.String()
    problem = ma.fields.String(allow_none=True)
    workspace_id = ma.fields.UUID(allow_none=True)
    body = ma.fields.String()
    job_id = ma.fields.UUID()


class EventPage(Envelope):
    """A page of webhook requests."""

    data = ma.fields.List(ma.fields.Nested(EventOut))


class ReasonOut(ma.Schema):
    """One reason to wait: the gate, what it says, who set it, until when, what to do."""

    gate = ma.fields.String()
    text = ma.fields.String()
    set_by = ma.fields.String()
    until = ma.fields.AwareDateTime(allow_none=True)
    remedy = ma.fields.String()


class PlaceOut(ma.Schema):
    """How many jobs of its queue are before it, and when it may start."""

    ahead = ma.fields.Integer()
    predicted_start = ma.fields.AwareDateTime(allow_none=True)


class StepOut(ma.Schema):
    """One thing that happened."""

    at = ma.fields.AwareDateTime()
    what = ma.fields.String()
    detail = ma.fields.String()
    job_id = ma.fields.UUID(allow_none=True)
    message_id = ma.fields.UUID(allow_none=True)


class ExplanationOut(ma.Schema):
    """Why it waits, the reason to deal with first in front; and all that happened by the same trace."""

    state = ma.fields.String()
    summary = ma.fields.String()
    reasons = ma.fields.List(ma.fields.Nested(ReasonOut))
    place = ma.fields.Nested(PlaceOut, allow_none=True)
    story = ma.fields.List(ma.fields.Nested(StepOut))


class FiguresOut(ma.Schema):
    """Figures of the queues."""

    class Meta:
        """More than these: see the description of each call."""

        unknown = ma.INCLUDE

    success = ma.fields.Boolean(required=True)
    timestamp = ma.fields.AwareDateTime(required=True)
